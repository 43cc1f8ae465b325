//! Values between scripts and wasmtime.

use crate::Value;
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
    })
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
