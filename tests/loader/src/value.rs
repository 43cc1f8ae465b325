//! Values between scripts and wasmtime.

use crate::Value;
use isomer_testing::protocol::ComponentValue;
use wasmtime::component;
use wasmtime::{AnyRef, ExternRef, Result, Store, Val, bail};

/// As wasmtime takes it.
pub(crate) fn to_val(value: &Value, store: &mut Store<()>) -> Result<Val> {
    Ok(match value {
        Value::I32(value) => Val::I32(*value),
        Value::I64(value) => Val::I64(*value),
        Value::F32(bits) => Val::F32(*bits),
        Value::F64(bits) => Val::F64(*bits),
        Value::V128(text) => Val::V128(u128::from_str_radix(text, 16)?.into()),
        Value::Null(kind) => match kind.as_str() {
            "func" => Val::FuncRef(None),
            "extern" => Val::ExternRef(None),
            "any" => Val::AnyRef(None),
            "exn" => Val::ExnRef(None),
            _ => bail!("no null of the hierarchy `{kind}`"),
        },
        Value::Extern(number) => Val::ExternRef(Some(ExternRef::new(store, *number)?)),
        Value::Host(number) => {
            let external = ExternRef::new(&mut *store, *number)?;
            Val::AnyRef(Some(AnyRef::convert_extern(store, external)?))
        }
        Value::Reference(kind) => bail!("a reference to {kind} cannot be passed in"),
        Value::Component(value) => bail!("{value:?} is a component's value"),
    })
}

/// As components take it.
pub(crate) fn to_component(value: &Value) -> Result<component::Val> {
    match value {
        Value::Component(value) => inward(value),
        other => bail!("{other:?} is not a component's value"),
    }
}

fn inward(value: &ComponentValue) -> Result<component::Val> {
    use component::Val;
    let all = |values: &[ComponentValue]| values.iter().map(inward).collect::<Result<Vec<_>>>();
    let maybe =
        |value: &Option<Box<ComponentValue>>| value.as_deref().map(|value| inward(value).map(Box::new)).transpose();
    Ok(match value {
        ComponentValue::Bool(value) => Val::Bool(*value),
        ComponentValue::S8(value) => Val::S8(*value),
        ComponentValue::U8(value) => Val::U8(*value),
        ComponentValue::S16(value) => Val::S16(*value),
        ComponentValue::U16(value) => Val::U16(*value),
        ComponentValue::S32(value) => Val::S32(*value),
        ComponentValue::U32(value) => Val::U32(*value),
        ComponentValue::S64(value) => Val::S64(*value),
        ComponentValue::U64(value) => Val::U64(*value),
        ComponentValue::F32(bits) => Val::Float32(f32::from_bits(*bits)),
        ComponentValue::F64(bits) => Val::Float64(f64::from_bits(*bits)),
        ComponentValue::Char(value) => Val::Char(*value),
        ComponentValue::String(value) => Val::String(value.clone()),
        ComponentValue::List(values) => Val::List(all(values)?),
        ComponentValue::Record(fields) => {
            Val::Record(fields.iter().map(|(name, value)| Ok((name.clone(), inward(value)?))).collect::<Result<_>>()?)
        }
        ComponentValue::Tuple(values) => Val::Tuple(all(values)?),
        ComponentValue::Variant(case, payload) => Val::Variant(case.clone(), maybe(payload)?),
        ComponentValue::Enum(case) => Val::Enum(case.clone()),
        ComponentValue::Option(value) => Val::Option(maybe(value)?),
        ComponentValue::Result(Ok(value)) => Val::Result(Ok(maybe(value)?)),
        ComponentValue::Result(Err(value)) => Val::Result(Err(maybe(value)?)),
        ComponentValue::Flags(names) => Val::Flags(names.clone()),
        ComponentValue::Other(kind) => bail!("a {kind} cannot be passed in"),
    })
}

/// Of a component's.
pub(crate) fn of_component(value: &component::Val) -> ComponentValue {
    use component::Val;
    let all = |values: &[Val]| values.iter().map(of_component).collect();
    let maybe = |value: &Option<Box<Val>>| value.as_deref().map(|value| Box::new(of_component(value)));
    let other = |kind: &str| ComponentValue::Other(kind.to_owned());
    match value {
        Val::Bool(value) => ComponentValue::Bool(*value),
        Val::S8(value) => ComponentValue::S8(*value),
        Val::U8(value) => ComponentValue::U8(*value),
        Val::S16(value) => ComponentValue::S16(*value),
        Val::U16(value) => ComponentValue::U16(*value),
        Val::S32(value) => ComponentValue::S32(*value),
        Val::U32(value) => ComponentValue::U32(*value),
        Val::S64(value) => ComponentValue::S64(*value),
        Val::U64(value) => ComponentValue::U64(*value),
        Val::Float32(value) => ComponentValue::F32(value.to_bits()),
        Val::Float64(value) => ComponentValue::F64(value.to_bits()),
        Val::Char(value) => ComponentValue::Char(*value),
        Val::String(value) => ComponentValue::String(value.clone()),
        Val::List(values) => ComponentValue::List(all(values)),
        Val::Record(fields) => {
            ComponentValue::Record(fields.iter().map(|(name, value)| (name.clone(), of_component(value))).collect())
        }
        Val::Tuple(values) => ComponentValue::Tuple(all(values)),
        Val::Variant(case, payload) => ComponentValue::Variant(case.clone(), maybe(payload)),
        Val::Enum(case) => ComponentValue::Enum(case.clone()),
        Val::Option(value) => ComponentValue::Option(maybe(value)),
        Val::Result(Ok(value)) => ComponentValue::Result(Ok(maybe(value))),
        Val::Result(Err(value)) => ComponentValue::Result(Err(maybe(value))),
        Val::Flags(names) => ComponentValue::Flags(names.clone()),
        Val::Map(_) => other("map"),
        Val::Resource(_) => other("resource"),
        Val::Future(_) => other("future"),
        Val::Stream(_) => other("stream"),
        Val::ErrorContext(_) => other("error-context"),
        Val::FixedLengthList(_) => other("list of a fixed length"),
    }
}

/// Of wasmtime's.
pub(crate) fn of(value: &Val, store: &mut Store<()>) -> Result<Value> {
    let null = |kind: &str| Ok(Value::Null(kind.to_owned()));
    let reference = |kind: &str| Ok(Value::Reference(kind.to_owned()));
    match value {
        Val::I32(value) => Ok(Value::I32(*value)),
        Val::I64(value) => Ok(Value::I64(*value)),
        Val::F32(bits) => Ok(Value::F32(*bits)),
        Val::F64(bits) => Ok(Value::F64(*bits)),
        Val::V128(value) => Ok(Value::V128(format!("{:032x}", value.as_u128()))),
        Val::FuncRef(None) => null("func"),
        Val::FuncRef(Some(_)) => reference("func"),
        Val::ExternRef(None) => null("extern"),
        Val::ExternRef(Some(external)) => match external.data(&*store)?.and_then(|data| data.downcast_ref::<u32>()) {
            Some(number) => Ok(Value::Extern(*number)),
            None => reference("extern"),
        },
        Val::AnyRef(None) => null("any"),
        Val::AnyRef(Some(any)) => any_reference(any, store),
        Val::ExnRef(None) => null("exn"),
        Val::ExnRef(Some(_)) => reference("exn"),
        Val::ContRef(None) => null("cont"),
        Val::ContRef(Some(_)) => reference("cont"),
    }
}

fn any_reference(any: &wasmtime::Rooted<AnyRef>, store: &mut Store<()>) -> Result<Value> {
    let kind = if any.is_i31(&*store)? {
        "i31"
    } else if any.is_struct(&*store)? {
        "struct"
    } else if any.is_array(&*store)? {
        "array"
    } else {
        let external = ExternRef::convert_any(&mut *store, *any)?;
        let number = external.data(&*store)?.and_then(|data| data.downcast_ref::<u32>()).copied();
        return Ok(number.map_or_else(|| Value::Reference("any".to_owned()), Value::Host));
    };
    Ok(Value::Reference(kind.to_owned()))
}
