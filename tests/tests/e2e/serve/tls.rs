//! A certificate that changes while a server runs.

use isomer_testing::certificates::Certificates;
use isomer_tests::served::{Served, artifact, serve};
use isomer_tests::{has_program, isomer_run, program, scratch, skip, wait_until};
use std::fs;
use std::path::Path;

/// Whether curl gets an answer from the server if it trusts this CA alone.
fn trusts(served: &Served, ca: &Path) -> bool {
    let curl = program("curl").args(["--silent", "--max-time", "20", "--cacert"]).arg(ca);
    let ran = curl.arg(format!("https://{}/hello", served.address)).run();
    ran.code() == 0 && ran.stdout() == "hello\n"
}

#[test]
fn a_certificate_that_changes_is_served_anew() {
    if !has_program("curl") {
        return skip("a_certificate_that_changes_is_served_anew", "curl is not installed");
    }
    let (one, two) = (Certificates::new(), Certificates::new());
    let directory = scratch();
    let file = |name: &str| directory.path().join(name);
    // As renewals do it.
    let put = |from: &Path, to: &str| {
        fs::copy(from, file("new")).unwrap();
        fs::rename(file("new"), file(to)).unwrap();
    };
    put(&one.path("server.pem"), "cert.pem");
    put(&one.path("server.key"), "key.pem");
    let call = isomer_run().line("serve --allow-unsigned --addr 127.0.0.1:0 --tls-cert").arg(file("cert.pem"));
    let served = serve(call.arg("--tls-key").arg(file("key.pem")).arg(artifact("proxy")), scratch());
    assert!(trusts(&served, &one.path("ca.pem")) && !trusts(&served, &two.path("ca.pem")), "{}", served.log());

    // A certificate whose key is still to come does not fit, and the one before stays.
    put(&two.path("server.pem"), "cert.pem");
    served.wait_for_log("cannot be used, the one before stays");
    assert!(trusts(&served, &one.path("ca.pem")), "{}", served.log());

    put(&two.path("server.key"), "key.pem");
    wait_until("the new certificate is served", || trusts(&served, &two.path("ca.pem")));
    assert!(!trusts(&served, &one.path("ca.pem")), "{}", served.log());
}
