//! `wasi:keyvalue` in memory. In: what it holds at first, and the bytes that it may hold. Out: one store, under the
//! identifier "", that every bucket opens and all instances share. Never here: a file; more than the bound.

use super::Host;
use crate::limits::{LimitHit, LimitKind};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, Lower, Resource, ResourceType};

/// Without a limit.
const SIZE_BYTES_MAX: u64 = 16 << 20;
/// What an entry takes beside its name and value, so that many small ones count too.
const ENTRY_SIZE_BYTES: u64 = 64;
/// The keys in one answer; the guest asks for the rest with the cursor.
const KEYS_MAX: usize = 1000;

/// A store of names and values.
#[derive(Clone, Debug)]
pub(super) struct KeyValue {
    entries: Arc<Mutex<Entries>>,
}

#[derive(Debug)]
struct Entries {
    values: BTreeMap<String, Vec<u8>>,
    size_bytes: u64,
    size_bytes_max: u64,
}

/// A bucket that a guest has opened; there is only one store.
struct Bucket;

#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum Error {
    #[component(name = "no-such-store")]
    NoSuchStore,
    #[component(name = "access-denied")]
    AccessDenied,
    #[component(name = "other")]
    Other(String),
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct KeyResponse {
    keys: Vec<String>,
    cursor: Option<u64>,
}

type Answer<T> = wasmtime::Result<(Result<T, Error>,)>;
type Entry = (String, Vec<u8>);

impl KeyValue {
    /// A store with these entries. They count, and are kept if they alone are too many.
    pub(super) fn new(entries: &BTreeMap<String, String>, size_bytes_max: Option<u64>) -> KeyValue {
        let values: BTreeMap<_, _> =
            entries.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect();
        let size_bytes = values.iter().map(|(name, value)| size_bytes(name, value)).sum();
        let size_bytes_max = size_bytes_max.unwrap_or(SIZE_BYTES_MAX);
        KeyValue { entries: Arc::new(Mutex::new(Entries { values, size_bytes, size_bytes_max })) }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size_bytes(name: &str, value: &[u8]) -> u64 {
    ENTRY_SIZE_BYTES + name.len() as u64 + value.len() as u64
}

impl Entries {
    fn set(&mut self, name: String, value: Vec<u8>) -> Result<(), Error> {
        let replaced = self.values.get(&name).map_or(0, |value| size_bytes(&name, value));
        let wanted = self.size_bytes - replaced + size_bytes(&name, &value);
        if wanted > self.size_bytes_max && wanted > self.size_bytes {
            let hit = LimitHit { limit: LimitKind::KeyValue, allowed: self.size_bytes_max, requested: Some(wanted) };
            return Err(Error::Other(hit.to_string()));
        }
        self.size_bytes = wanted;
        self.values.insert(name, value);
        Ok(())
    }

    /// The entries with these names. A guest may name one as often as it likes: they are no more than all there is.
    fn get_many(&self, names: Vec<String>) -> Result<Vec<Option<Entry>>, Error> {
        let mut left = self.size_bytes;
        let get = |name: String| -> Result<Option<Entry>, Error> {
            let Some(value) = self.values.get(&name) else { return Ok(None) };
            let too_many =
                || Error::Other(format!("these values have more than the {} bytes of the store", self.size_bytes));
            left = left.checked_sub(size_bytes(&name, value)).ok_or_else(too_many)?;
            Ok(Some((name, value.clone())))
        };
        names.into_iter().map(get).collect()
    }

    fn delete(&mut self, name: &str) {
        if let Some(value) = self.values.remove(name) {
            self.size_bytes -= size_bytes(name, &value);
        }
    }

    /// The keys from the `cursor`th on, in their order.
    fn keys(&self, cursor: u64) -> KeyResponse {
        let first = usize::try_from(cursor).unwrap_or(usize::MAX);
        let keys: Vec<_> = self.values.keys().skip(first).take(KEYS_MAX).cloned().collect();
        let next = first.saturating_add(keys.len());
        KeyResponse { keys, cursor: (next < self.values.len()).then_some(next as u64) }
    }

    fn increment(&mut self, name: String, delta: u64) -> Result<u64, Error> {
        let number = match self.values.get(&name) {
            None => 0,
            Some(value) => {
                let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
                number.ok_or_else(|| Error::Other("the value is not a number".to_owned()))?
            }
        };
        let sum = number.checked_add(delta).ok_or_else(|| Error::Other("the sum is too large".to_owned()))?;
        self.set(name, sum.to_string().into_bytes())?;
        Ok(sum)
    }
}

/// The store that an open bucket is of.
fn entries<'a>(host: &'a mut Host, bucket: &Resource<Bucket>) -> wasmtime::Result<MutexGuard<'a, Entries>> {
    host.table().get(bucket)?;
    let granted = host.keyvalue.as_ref().map(KeyValue::lock);
    granted.ok_or_else(|| wasmtime::format_err!("a bucket without a store"))
}

type Context<'a> = StoreContextMut<'a, Host>;

pub(super) fn add_to_linker(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let mut store = linker.instance("wasi:keyvalue/store@0.2.0-draft")?;
    store.resource("bucket", ResourceType::host::<Bucket>(), |mut context: Context<'_>, bucket| {
        context.data_mut().table().delete(Resource::<Bucket>::new_own(bucket))?;
        Ok(())
    })?;
    store.func_wrap("open", |mut context: Context<'_>, (name,): (String,)| -> Answer<Resource<Bucket>> {
        let host = context.data_mut();
        Ok((match (&host.keyvalue, name.as_str()) {
            (None, _) => Err(Error::AccessDenied),
            (Some(_), "") => Ok(host.table().push(Bucket)?),
            (Some(_), _) => Err(Error::NoSuchStore),
        },))
    })?;
    store.func_wrap(
        "[method]bucket.get",
        |mut context: Context<'_>, (bucket, name): (Resource<Bucket>, String)| -> Answer<Option<Vec<u8>>> {
            Ok((Ok(entries(context.data_mut(), &bucket)?.values.get(&name).cloned()),))
        },
    )?;
    store.func_wrap(
        "[method]bucket.set",
        |mut context: Context<'_>, (bucket, name, value): (Resource<Bucket>, String, Vec<u8>)| -> Answer<()> {
            Ok((entries(context.data_mut(), &bucket)?.set(name, value),))
        },
    )?;
    store.func_wrap(
        "[method]bucket.delete",
        |mut context: Context<'_>, (bucket, name): (Resource<Bucket>, String)| -> Answer<()> {
            entries(context.data_mut(), &bucket)?.delete(&name);
            Ok((Ok(()),))
        },
    )?;
    store.func_wrap(
        "[method]bucket.exists",
        |mut context: Context<'_>, (bucket, name): (Resource<Bucket>, String)| -> Answer<bool> {
            Ok((Ok(entries(context.data_mut(), &bucket)?.values.contains_key(&name)),))
        },
    )?;
    store.func_wrap(
        "[method]bucket.list-keys",
        |mut context: Context<'_>, (bucket, cursor): (Resource<Bucket>, Option<u64>)| -> Answer<KeyResponse> {
            Ok((Ok(entries(context.data_mut(), &bucket)?.keys(cursor.unwrap_or(0))),))
        },
    )?;
    linker.instance("wasi:keyvalue/atomics@0.2.0-draft")?.func_wrap(
        "increment",
        |mut context: Context<'_>, (bucket, name, delta): (Resource<Bucket>, String, u64)| -> Answer<u64> {
            Ok((entries(context.data_mut(), &bucket)?.increment(name, delta),))
        },
    )?;
    add_batch_to_linker(linker)
}

fn add_batch_to_linker(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let mut batch = linker.instance("wasi:keyvalue/batch@0.2.0-draft")?;
    batch.func_wrap(
        "get-many",
        |mut context: Context<'_>, (bucket, names): (Resource<Bucket>, Vec<String>)| -> Answer<Vec<Option<Entry>>> {
            Ok((entries(context.data_mut(), &bucket)?.get_many(names),))
        },
    )?;
    batch.func_wrap(
        "set-many",
        |mut context: Context<'_>, (bucket, pairs): (Resource<Bucket>, Vec<Entry>)| -> Answer<()> {
            let mut entries = entries(context.data_mut(), &bucket)?;
            Ok((pairs.into_iter().try_for_each(|(name, value)| entries.set(name, value)),))
        },
    )?;
    batch.func_wrap(
        "delete-many",
        |mut context: Context<'_>, (bucket, names): (Resource<Bucket>, Vec<String>)| -> Answer<()> {
            let mut entries = entries(context.data_mut(), &bucket)?;
            names.iter().for_each(|name| entries.delete(name));
            Ok((Ok(()),))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(size_bytes_max: u64) -> KeyValue {
        KeyValue::new(&[("a".to_owned(), "1".to_owned())].into(), Some(size_bytes_max))
    }

    #[test]
    fn it_holds_no_more_than_its_bound() {
        let store = store(2 * 66);
        let mut entries = store.lock();
        assert!(entries.set("b".to_owned(), vec![0]).is_ok());
        assert!(
            matches!(entries.set("c".to_owned(), Vec::new()), Err(Error::Other(reason)) if reason.contains("132B"))
        );
        assert!(entries.set("a".to_owned(), vec![0, 0]).is_err());
        entries.delete("b");
        entries.delete("b");
        assert!(entries.set("a".to_owned(), vec![0; 60]).is_ok());
        assert_eq!(entries.size_bytes, 125);
    }

    #[test]
    fn an_answer_holds_no_more_than_the_store() {
        let store = store(1000);
        let mut entries = store.lock();
        assert!(entries.set("b".to_owned(), vec![0; 500]).is_ok());
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let found = entries.get_many(names(&["b", "none", "a"])).ok().expect("each once");
        assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
        assert!(matches!(entries.get_many(names(&["b"; 1000])), Err(Error::Other(_))));
    }

    #[test]
    fn numbers_are_added_up_and_nothing_else_is() {
        let store = store(1000);
        let mut entries = store.lock();
        assert!(matches!(entries.increment("a".to_owned(), 2), Ok(3)));
        assert!(matches!(entries.increment("new".to_owned(), 5), Ok(5)));
        assert!(entries.increment("a".to_owned(), u64::MAX).is_err());
        entries.set("a".to_owned(), b"x".to_vec()).ok();
        assert!(entries.increment("a".to_owned(), 1).is_err());
    }

    #[test]
    fn keys_come_in_parts() {
        let store = KeyValue::new(&(0..1500).map(|index| (format!("{index:04}"), String::new())).collect(), None);
        let first = store.lock().keys(0);
        assert_eq!((first.keys.len(), first.cursor), (KEYS_MAX, Some(1000)));
        let rest = store.lock().keys(1000);
        assert_eq!((rest.keys.first().map(String::as_str), rest.keys.len(), rest.cursor), (Some("1000"), 500, None));
        assert_eq!(store.lock().keys(u64::MAX).keys.len(), 0);
    }
}
