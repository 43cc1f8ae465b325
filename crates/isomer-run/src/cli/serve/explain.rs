//! `--explain`: what a server was set up with, and where that comes from. In: a [`Server`]. Out: lines on standard output.

use isomer_contract::Size;
use isomer_guest::Limits;
use isomer_guest::server::{Explanation, Server};
use isomer_terminal::{Failure, escaped};
use std::fmt::Write;

pub(super) fn print(server: &Server) -> Result<(), Failure> {
    let addresses: Vec<_> = server.addresses().iter().map(ToString::to_string).collect();
    let mut text = format!("addresses: {}\n", escaped(&addresses.join(", ")));
    for explanation in server.explanations() {
        text += &route(explanation);
    }
    isomer_terminal::print(&text)?;
    Ok(())
}

fn route(explanation: &Explanation) -> String {
    let Explanation { route, module, load_path, interface, interruptible, memory, limits, instance, .. } = explanation;
    let mut text = format!("\nroute {route}\n");
    let deadline = if *interruptible {
        "by epochs, which the artifact's code checks"
    } else {
        "while the guest waits; its code has no epochs (`epoch-interruption = true` in a profile's [wasm])"
    };
    let size = |bytes: usize| Size(bytes as u64);
    for (name, value) in [
        ("module", escaped(module).into_owned()),
        ("interface", interface.clone()),
        ("artifact", load_path.replace('\n', "\n    ")),
        ("memory", memory.clone()),
        ("deadlines", deadline.to_owned()),
        (
            "requests at once",
            format!("{}, and {} wait for up to {:?}", limits.requests, limits.waiting, limits.waiting_time),
        ),
        ("request body", format!("up to {}", size(limits.request_size))),
        ("response", format!("within {:?}, all within {:?}", limits.request_time, limits.total_time)),
        ("bodies", format!("stand still for up to {:?}", limits.body_idle_time)),
        ("each instance", instance_limits(instance)),
        ("log", format!("{} a second", size(limits.log_rate))),
    ] {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name}: {value}");
    }
    text
}

fn instance_limits(limits: &Limits) -> String {
    let size = |size: Option<u64>| size.map_or_else(|| "no limit".to_owned(), |size| Size(size).to_string());
    let count = |count: Option<u64>| count.map_or_else(|| "any number of".to_owned(), |count| count.to_string());
    format!(
        "{} of memory, {} of stack, {} table elements, {} core instances, {} handles",
        size(limits.max_memory),
        size(limits.max_stack),
        count(limits.max_table_elements),
        count(limits.max_instances),
        count(limits.max_handles)
    )
}
