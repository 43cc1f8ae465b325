//! Guests that open files without end.

use isomer_tests::served::{compile, serve};
use isomer_tests::{guest, isomer_run, scratch, wait_until};
use std::fs;

#[test]
fn a_guest_that_opens_files_without_end_is_ended_at_its_limit() {
    const HANDLES: usize = 300;
    let directory = scratch();
    compile(&[guest("files")], directory.path());
    let data = directory.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("file"), "content\n").unwrap();
    let call = isomer_run().line("serve --allow-unsigned --addr 127.0.0.1:0 --timeout 5s --max-handles");
    let call = call.arg(HANDLES.to_string()).arg("--dir").arg(format!("{}::/data:ro", data.display()));
    let served = serve(call.arg(directory.path().join("files.served.cwasm")), scratch());
    let open = || fs::read_dir(format!("/proc/{}/fd", served.id())).unwrap().count();
    assert_eq!(served.get("/read").text(), "content\n", "{}", served.log());
    let before = open();
    // As many instances at once as hold a multiple of the limit.
    let mut opening: Vec<_> = (0..8).map(|_| served.send("GET", "/open", &[], b"")).collect();
    assert_eq!(served.get("/read").text(), "content\n", "{}", served.log());
    for connection in &mut opening {
        assert_eq!(connection.receive().unwrap().status, 500, "{}", served.log());
    }
    // One that holds its files is within its limit, and gives them back at its end.
    let mut holding = served.send("GET", "/hold/100", &[], b"");
    wait_until("it holds files", || open() >= before + 100);
    assert_eq!(holding.receive().unwrap().text(), "held 100\n", "{}", served.log());
    drop((holding, opening));
    wait_until("all files are closed", || open() <= before + 2);
    assert_eq!(served.get("/read").text(), "content\n", "{}", served.log());
}
