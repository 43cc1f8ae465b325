//! What is told and is no error.

use crate::farm::{Farm, Server, overwrite};
use std::fmt;
use std::fs::File;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Keeps the messages of warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

struct Message<'a>(&'a mut Vec<String>);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0.push(format!("{value:?}"));
        }
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Message(&mut self.0.lock().expect("no test panicked")));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// What `act` warns of.
fn warnings(act: impl FnOnce()) -> Vec<String> {
    let warnings = Warnings::default();
    tracing::subscriber::with_default(warnings.clone(), act);
    warnings.0.lock().map(|found| found.clone()).expect("no test panicked")
}

#[test]
fn damaged_versions_are_warned_of_where_another_is_found() {
    let (farm, server) = (Farm::new(), Server::new());
    let [damaged, whole] = [("1.0.0", "pulley64"), ("1.1.0", "x86-64")].map(|(version, name)| {
        let release = farm.release_of(version, 1, name);
        server.pull(&release.source(), &farm.trust()).expect("it is trusted");
        release.index
    });
    overwrite(&server.path(&format!("installed/{}/index.json", damaged.hex())), b"{");
    let found = warnings(|| drop(server.store.find(&whole.to_string()).expect("it is whole")));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with(&format!("the installed index {damaged} is damaged")), "{found:?}");
}

#[test]
fn only_a_long_wait_for_the_lock_is_told() {
    let (farm, server) = (Farm::new(), Server::new());
    server.activate(&farm.release_of("1.0.0", 1, "pulley64").source(), &farm.trust());
    let lock = server.path("lock");
    for (held, expected) in [
        (Duration::from_millis(200), vec![]),
        (Duration::from_millis(3300), vec![format!("waiting for another isomer-run on `{}`", lock.display())]),
    ] {
        let other = File::options().write(true).open(&lock).expect("it is ours");
        other.lock().expect("no other process has it");
        let start = Instant::now();
        let release = thread::spawn(move || {
            thread::sleep(held);
            drop(other);
        });
        let found = warnings(|| drop(server.store.activate("sum").expect("it is installed")));
        assert!(start.elapsed() >= held, "it was locked");
        assert_eq!(found, expected);
        release.join().expect("it ends");
    }
}
