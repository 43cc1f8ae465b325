//! Values of scripts and of the loader: a script's argument as the loader takes it, and whether what the loader gives
//! back is what a script expects.

use anyhow::{Result, bail};
use isomer_testing::protocol::{ComponentValue, Value};
use json_from_wast::{AnyRef, ComponentConst, Const, CoreConst, ExternRef, FloatConst, FuncRef, V128};
use std::collections::BTreeSet;

/// A script's argument.
pub(crate) fn argument(value: &Const<'_>) -> Result<Value> {
    let null = |hierarchy: &str| Ok(Value::Null(hierarchy.to_owned()));
    let value = match value {
        Const::Core(value) => value,
        Const::Component(value) => return Ok(Value::Component(of_component(value))),
    };
    match value {
        CoreConst::I32 { value } => Ok(Value::I32(value.0)),
        CoreConst::I64 { value } => Ok(Value::I64(value.0)),
        CoreConst::F32 { value } => Ok(Value::F32(value.to_bits())),
        CoreConst::F64 { value } => Ok(Value::F64(value.to_bits())),
        CoreConst::V128(value) => Ok(Value::V128(format!("{:032x}", value.to_u128()))),
        CoreConst::FuncRef { value: Some(FuncRef::Null) } | CoreConst::NullFuncRef => null("func"),
        CoreConst::ExternRef { value: Some(ExternRef::Null) } | CoreConst::NullExternRef => null("extern"),
        CoreConst::ExternRef { value: Some(ExternRef::Host(number)) } => Ok(Value::Extern(number.0)),
        CoreConst::AnyRef { value: Some(AnyRef::Null) } | CoreConst::NullRef => null("any"),
        CoreConst::AnyRef { value: Some(AnyRef::Host(number)) } => Ok(Value::Host(number.0)),
        other => bail!("{other:?} as an argument"),
    }
}

/// Whether a result is what a script expects.
pub(crate) fn matches_const(value: &Value, wanted: &Const<'_>) -> bool {
    match (value, wanted) {
        (Value::Component(value), Const::Component(wanted)) => matches_component(value, &of_component(wanted)),
        (value, Const::Core(wanted)) => matches(value, wanted),
        _ => false,
    }
}

fn of_component(value: &ComponentConst<'_>) -> ComponentValue {
    let all = |values: &[ComponentConst<'_>]| values.iter().map(of_component).collect();
    let maybe = |value: &Option<Box<ComponentConst<'_>>>| value.as_deref().map(|value| Box::new(of_component(value)));
    match value {
        ComponentConst::String(text) => ComponentValue::String(text.to_string()),
        ComponentConst::Char(value) => ComponentValue::Char(*value),
        ComponentConst::Bool(value) => ComponentValue::Bool(*value),
        ComponentConst::U8(value) => ComponentValue::U8(value.0),
        ComponentConst::S8(value) => ComponentValue::S8(value.0),
        ComponentConst::U16(value) => ComponentValue::U16(value.0),
        ComponentConst::S16(value) => ComponentValue::S16(value.0),
        ComponentConst::U32(value) => ComponentValue::U32(value.0),
        ComponentConst::S32(value) => ComponentValue::S32(value.0),
        ComponentConst::U64(value) => ComponentValue::U64(value.0),
        ComponentConst::S64(value) => ComponentValue::S64(value.0),
        ComponentConst::F32(bits) => ComponentValue::F32(bits.0),
        ComponentConst::F64(bits) => ComponentValue::F64(bits.0),
        ComponentConst::List(values) => ComponentValue::List(all(values)),
        ComponentConst::Record(fields) => {
            ComponentValue::Record(fields.iter().map(|(name, value)| (name.to_string(), of_component(value))).collect())
        }
        ComponentConst::Tuple(values) => ComponentValue::Tuple(all(values)),
        ComponentConst::Variant { case, payload } => ComponentValue::Variant(case.to_string(), maybe(payload)),
        ComponentConst::Enum(case) => ComponentValue::Enum(case.to_string()),
        ComponentConst::Option(value) => ComponentValue::Option(maybe(value)),
        ComponentConst::Result(Ok(value)) => ComponentValue::Result(Ok(maybe(value))),
        ComponentConst::Result(Err(value)) => ComponentValue::Result(Err(maybe(value))),
        ComponentConst::Flags(names) => ComponentValue::Flags(names.iter().map(ToString::to_string).collect()),
    }
}

/// A NaN is any NaN, and flags have no order.
fn matches_component(value: &ComponentValue, wanted: &ComponentValue) -> bool {
    use ComponentValue as V;
    let all = |values: &[V], wanted: &[V]| {
        values.len() == wanted.len()
            && values.iter().zip(wanted).all(|(value, wanted)| matches_component(value, wanted))
    };
    let maybe = |value: &Option<Box<V>>, wanted: &Option<Box<V>>| match (value, wanted) {
        (Some(value), Some(wanted)) => matches_component(value, wanted),
        (None, None) => true,
        _ => false,
    };
    match (value, wanted) {
        (V::F32(found), V::F32(bits)) if f32::from_bits(*bits).is_nan() => f32::from_bits(*found).is_nan(),
        (V::F64(found), V::F64(bits)) if f64::from_bits(*bits).is_nan() => f64::from_bits(*found).is_nan(),
        (V::List(values), V::List(wanted)) | (V::Tuple(values), V::Tuple(wanted)) => all(values, wanted),
        (V::Record(fields), V::Record(wanted)) => {
            fields.len() == wanted.len()
                && fields.iter().zip(wanted).all(|((name, value), (wanted_name, wanted))| {
                    name == wanted_name && matches_component(value, wanted)
                })
        }
        (V::Variant(case, payload), V::Variant(wanted_case, wanted)) => case == wanted_case && maybe(payload, wanted),
        (V::Option(value), V::Option(wanted))
        | (V::Result(Ok(value)), V::Result(Ok(wanted)))
        | (V::Result(Err(value)), V::Result(Err(wanted))) => maybe(value, wanted),
        (V::Flags(names), V::Flags(wanted)) => {
            names.iter().collect::<BTreeSet<_>>() == wanted.iter().collect::<BTreeSet<_>>()
        }
        (value, wanted) => value == wanted,
    }
}

fn matches(value: &Value, wanted: &CoreConst) -> bool {
    match (value, wanted) {
        (_, CoreConst::Either { values }) => values.iter().any(|wanted| matches(value, wanted)),
        (Value::I32(found), CoreConst::I32 { value }) => *found == value.0,
        (Value::I64(found), CoreConst::I64 { value }) => *found == value.0,
        (Value::F32(found), CoreConst::F32 { value }) => float32(*found, value),
        (Value::F64(found), CoreConst::F64 { value }) => float64(*found, value),
        (Value::V128(found), CoreConst::V128(wanted)) => vector(found, wanted),
        (Value::Null(_), CoreConst::RefNull) => true,
        (Value::Null(found), wanted) => Some(found.as_str()) == null(wanted),
        (Value::Extern(found), CoreConst::ExternRef { value: Some(ExternRef::Host(number)) })
        | (Value::Host(found), CoreConst::AnyRef { value: Some(AnyRef::Host(number)) }) => *found == number.0,
        (Value::Extern(_), CoreConst::ExternRef { value: None })
        | (Value::Host(_), CoreConst::AnyRef { value: None }) => true,
        (Value::Reference(found), wanted) => reference(found, wanted),
        _ => false,
    }
}

fn null(wanted: &CoreConst) -> Option<&'static str> {
    match wanted {
        CoreConst::FuncRef { value: Some(FuncRef::Null) } | CoreConst::NullFuncRef => Some("func"),
        CoreConst::ExternRef { value: Some(ExternRef::Null) } | CoreConst::NullExternRef => Some("extern"),
        CoreConst::AnyRef { value: Some(AnyRef::Null) } | CoreConst::NullRef => Some("any"),
        CoreConst::ExnRef { .. } | CoreConst::NullExnRef => Some("exn"),
        _ => None,
    }
}

fn reference(found: &str, wanted: &CoreConst) -> bool {
    match wanted {
        CoreConst::FuncRef { value: None | Some(FuncRef::Index(_)) } => found == "func",
        CoreConst::ExternRef { value: None } => found == "extern",
        CoreConst::StructRef => found == "struct",
        CoreConst::ArrayRef => found == "array",
        CoreConst::I31Ref => found == "i31",
        CoreConst::EqRef => ["struct", "array", "i31"].contains(&found),
        CoreConst::AnyRef { value: None } => ["struct", "array", "i31", "any"].contains(&found),
        _ => false,
    }
}

fn float32(found: u32, wanted: &FloatConst<f32>) -> bool {
    match wanted {
        FloatConst::CanonicalNan => found & 0x7fff_ffff == 0x7fc0_0000,
        FloatConst::ArithmeticNan => found & 0x7fc0_0000 == 0x7fc0_0000,
        FloatConst::Value(value) => found == value.to_bits(),
    }
}

fn float64(found: u64, wanted: &FloatConst<f64>) -> bool {
    match wanted {
        FloatConst::CanonicalNan => found & 0x7fff_ffff_ffff_ffff == 0x7ff8_0000_0000_0000,
        FloatConst::ArithmeticNan => found & 0x7ff8_0000_0000_0000 == 0x7ff8_0000_0000_0000,
        FloatConst::Value(value) => found == value.to_bits(),
    }
}

fn vector(found: &str, wanted: &V128) -> bool {
    let Ok(bits) = u128::from_str_radix(found, 16) else { return false };
    match wanted {
        V128::F32 { value } => (0..4).all(|lane| float32((bits >> (32 * lane)) as u32, &value[lane])),
        V128::F64 { value } => (0..2).all(|lane| float64((bits >> (64 * lane)) as u64, &value[lane])),
        integers => bits == integers.to_u128(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_not_every_value() {
        assert!(float32(0xffc0_0000, &FloatConst::CanonicalNan) && !float32(0x7fc0_0001, &FloatConst::CanonicalNan));
        assert!(float32(0x7fc0_0001, &FloatConst::ArithmeticNan) && !float32(0x7f80_0001, &FloatConst::ArithmeticNan));
        assert!(!float64(0x8000_0000_0000_0000, &FloatConst::Value(0.0)));
        assert!(!matches(&Value::Null("extern".to_owned()), &CoreConst::NullFuncRef));
    }

    #[test]
    fn components_values_are_compared_by_case_and_payload() {
        use ComponentValue as V;
        let variant = |case: &str, payload| V::Variant(case.to_owned(), payload);
        let one = || Some(Box::new(V::U8(1)));
        assert!(matches_component(&variant("a", one()), &variant("a", one())));
        assert!(!matches_component(&variant("a", one()), &variant("b", one())));
        assert!(!matches_component(&variant("a", one()), &variant("a", None)));
        assert!(!matches_component(&V::U8(1), &V::S8(1)));
        assert!(matches_component(&V::F32(0x7fc0_0001), &V::F32(0x7fc0_0000)));
        assert!(!matches_component(&V::F32(0), &V::F32(0x8000_0000)), "zeros have signs");
        let flags = |names: [&str; 2]| V::Flags(names.map(str::to_owned).to_vec());
        assert!(matches_component(&flags(["x", "y"]), &flags(["y", "x"])));
        assert!(!matches_component(&V::List(vec![V::U8(1)]), &V::List(Vec::new())));
    }
}
