//! Texts of limits, and what the limiter counts.

use super::*;
use wasmtime::ResourceLimiter;

#[test]
fn limits_are_read_with_their_units() {
    let limits: Limits =
        toml::from_str("timeout = '90s'\nfuel = 1000\nmax-memory = '64MiB'\nmax-stack = 65536\nmax-handles = '1_000'")
            .expect("valid");
    assert_eq!(limits.timeout, Some(Duration::from_secs(90)));
    assert_eq!((limits.fuel, limits.max_memory), (Some(1000), Some(64 << 20)));
    assert_eq!((limits.max_stack, limits.max_handles), (Some(65536), Some(1000)));
    for text in ["timeout = 90", "timeout = '0s'", "max-memory = 0", "fuel = -1", "max-memory = '1GB'", "memory = 1"] {
        assert!(toml::from_str::<Limits>(text).is_err(), "{text}");
    }
    let error = toml::from_str::<Limits>("unknown = 1").expect_err("an unknown key").to_string();
    assert!(Limits::KEYS.iter().all(|key| error.contains(&format!("`{key}`"))), "{error}");
    let limits = Limits { max_stack: Some(1), ..Limits::default() };
    assert!(limits.check().is_err() && Limits::default().check().is_ok());
}

#[test]
fn all_memories_count_together() {
    let limits = Limits { max_memory: Some(100), max_table_elements: Some(10), ..Limits::default() };
    let mut limiter = Limiter::new(&limits);
    let mut memory = |current, desired, maximum| limiter.memory_growing(current, desired, maximum).expect("no error");
    assert!(memory(0, 60, None));
    assert!(memory(0, 30, Some(30)));
    assert!(!memory(60, 71, None));
    // It fails, but not because of the limit.
    assert!(memory(30, 60, Some(30)));
    assert!(memory(60, 70, None));
    assert!(!memory(0, 1, None));
    let hit = LimitHit { limit: LimitKind::Memory, allowed: 100, requested: Some(101) };
    assert_eq!((limiter.memory_bytes(), limiter.hit()), (100, Some(hit)));
    assert_eq!(hit.to_string(), "too much memory: 101B requested, the limit is 100B");
    assert!(limiter.table_growing(0, 10, None).expect("no error"));
    assert!(!limiter.table_growing(10, 11, None).expect("no error"));
    assert_eq!(LimitHit::timeout(Duration::from_millis(90_000)).to_string(), "out of time: the limit is 90s");
}
