//! Texts of grants: what is read, what is refused and with which hint, and what a rule covers.

use super::*;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};

fn refused<T: std::str::FromStr<Err = GrantError> + std::fmt::Debug>(text: &str) -> String {
    let error = text.parse::<T>().expect_err(text);
    [Some(error.to_string()), Hinted::hint(&error)].into_iter().flatten().collect::<Vec<_>>().join(" / ")
}

#[test]
fn directories_have_an_access_and_no_second_reading() {
    let read = |text: &str| {
        let Directory { host, guest, access } = text.parse().expect(text);
        (host.display().to_string(), guest, access)
    };
    let expected = |host: &str, guest: &str, access| (host.to_owned(), guest.to_owned(), access);
    assert_eq!(read("d"), expected("d", "d", Access::ReadWrite));
    assert_eq!(read("d:ro"), expected("d", "d", Access::ReadOnly));
    assert_eq!(read("d::/d"), expected("d", "/d", Access::ReadWrite));
    assert_eq!(read("d::/d:ro"), expected("d", "/d", Access::ReadOnly));
    assert_eq!(read("a:b::/d:rw"), expected("a:b", "/d", Access::ReadWrite));
    for text in ["", "::", "d::", "::/d", ":ro", "d::/d:ro:rw", "a::b::c", "d:/d", "d::/d:readonly", "d::/d:"] {
        refused::<Directory>(text);
    }
    assert!(refused::<Directory>("d:/d").contains("`d::/d`"));
    assert!(refused::<Directory>("d::/d:readonly").contains("`/d:ro`"));
}

#[test]
fn two_directories_with_one_path_contradict_each_other() {
    let directories = vec!["a::/d".parse().expect("valid"), "b::/d:ro".parse().expect("valid")];
    let mut grants = Grants { directories, ..Grants::default() };
    assert!(grants.check().is_err());
    grants.directories[1].guest = "/e".to_owned();
    assert!(grants.check().is_ok());
}

#[test]
fn rules_of_the_network_cover_what_they_name_and_nothing_else() {
    let rule = |text: &str| text.parse::<NetworkRule>().expect(text);
    let tcp = |address: &str| NetworkUse::TcpConnect(address.parse().expect(address));
    let udp = |address: &str| NetworkUse::UdpPeer(address.parse().expect(address));
    assert!(rule("10.0.0.0/8:5432").allows(tcp("10.1.2.3:5432")));
    assert!(rule("10.0.0.0/8:5432").allows(tcp("[::ffff:10.1.2.3]:5432")));
    assert!(rule("10.0.0.0/8").allows(udp("10.1.2.3:1")));
    assert!(rule("[2001:db8::/32]:80-90").allows(tcp("[2001:db8::1]:90")));
    assert!(rule("2001:db8::1").allows(tcp("[2001:db8::1]:90")));
    assert!(rule("tcp:*").allows(tcp("127.0.0.1:1")));
    for (text, denied) in [
        ("10.0.0.0/8:5432", tcp("11.0.0.1:5432")),
        ("10.0.0.0/8:5432", tcp("10.0.0.1:5433")),
        ("udp:10.0.0.0/8", tcp("10.0.0.1:5432")),
        ("tcp:10.0.0.0/8", udp("10.0.0.1:5432")),
        ("dns:*", tcp("10.0.0.1:5432")),
        ("tcp-listen:*", tcp("10.0.0.1:5432")),
        ("tcp:*", NetworkUse::TcpListen("0.0.0.0:80".parse().expect("an address"))),
        ("db.example.com", tcp("93.184.216.34:80")),
    ] {
        assert!(!rule(text).allows(denied), "{text} allows {denied:?}");
    }
    assert!(rule("db.example.com:80").allows_resolved(tcp("93.184.216.34:80"), "DB.example.com."));
    assert!(!rule("db.example.com:80").allows_resolved(tcp("93.184.216.34:81"), "db.example.com"));
    assert!(!rule("*.example.com").allows_resolved(tcp("93.184.216.34:81"), "example.com"));
    assert!(rule("*.example.com").allows_lookup("a.example.com") && rule("dns:*").allows_lookup("a"));
    assert!(!rule("10.0.0.0/8").allows_lookup("a") && !rule("tcp-listen:*").allows_lookup("a"));
}

#[test]
fn malformed_rules_are_refused() {
    for text in [
        "",
        "10.0.0.0/33",
        "10.0.0.1/8",
        "10.0.0.0/8:0",
        "a:70000",
        "a:90-80",
        "[::1",
        "[::1]80",
        "tcp:443",
        "dns:10.0.0.1",
        "dns:a:53",
        "tcp-listen:localhost",
        "1.2.3",
        "256.1.1.1",
        "a..b",
        "http://a",
        "a b",
        "-a",
    ] {
        refused::<NetworkRule>(text);
    }
    assert!(refused::<NetworkRule>("10.0.0.1/8").contains("`10.0.0.0/8`"));
    assert!(refused::<NetworkRule>("tcp:443").contains("`tcp:*:443`"));
    for text in ["ftp://a", "https://a/path", "https://user@a", "https://", "https://a:0"] {
        refused::<HttpRule>(text);
    }
}

#[test]
fn rules_are_written_as_they_are_read() {
    for text in ["*", "tcp:10.0.0.0/8:5432", "[2001:db8::/32]:80-90", "dns:*.example.com", "udp-listen:127.0.0.1:53"] {
        assert_eq!(text.parse::<NetworkRule>().expect(text).to_string(), text);
    }
    for text in ["https://api.example.com", "http://127.0.0.1:8080", "*:443", "https://[::1]:8443"] {
        assert_eq!(text.parse::<HttpRule>().expect(text).to_string(), text);
    }
}

#[test]
fn http_rules_mean_the_default_port_of_the_scheme() {
    let rule = |text: &str| text.parse::<HttpRule>().expect(text);
    assert!(rule("https://a.example").allows("https", "A.example", 443));
    assert!(rule("a.example").allows("http", "a.example", 80));
    assert!(rule("http://[::1]:8080").allows("http", "[::1]", 8080));
    assert!(!rule("https://a.example").allows("http", "a.example", 80));
    assert!(!rule("a.example").allows("https", "a.example", 8443));
    assert!(!rule("a.example").allows("https", "a.example.com", 443));
    assert!(!rule("a.example").allows_address("https", "127.0.0.1".parse().expect("an address"), 443));
    assert!(rule("127.0.0.0/8").allows_address("https", "127.0.0.1".parse().expect("an address"), 443));
}

#[test]
fn public_addresses_are_told_from_those_of_this_network() {
    let address = |text: &str| text.parse::<IpAddr>().expect(text);
    for text in ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "172.32.0.1"] {
        assert!(is_public(address(text)), "{text}");
    }
    for text in [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00::1",
        "3fff:fff::1",
    ] {
        assert!(!is_public(address(text)), "{text}");
    }
}

#[test]
fn the_environment_is_what_was_named_over_files_over_what_is_inherited() {
    let grants: Grants = toml::from_str(
        r#"
        env = ["A=option", "UNSET", "HOME"]
        env-file = "file"
        inherit-env = ["LC_*", "*X*Y"]
        "#,
    )
    .expect("valid");
    let process: BTreeMap<OsString, OsString> =
        [("HOME", "/root"), ("LC_ALL", "C"), ("LC", "no"), ("AXBY", "1"), ("XA", "no")]
            .map(|(name, value)| (name.into(), value.into()))
            .into();
    let read = |_: &Path| Ok("# comment\n\nA=file\nB= b=c \r\nLC_ALL=file\n".to_owned());
    let environment = grants.environment(read, &process).expect("valid");
    let expected = [("A", "option"), ("AXBY", "1"), ("B", " b=c "), ("HOME", "/root"), ("LC_ALL", "file")];
    assert_eq!(environment, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    let wrong = grants.environment(|_| Ok("A=1\nB\n".to_owned()), &process).expect_err("a line without a value");
    assert!(matches!(wrong, EnvironmentError::Line { line: 2, .. }));
    // A guest of WASI 0.1 would see another value than one of WASI 0.2.
    let wrong = grants.environment(|_| Ok("A=1\nB=1\0\n".to_owned()), &process).expect_err("a value with a NUL");
    assert!(matches!(wrong, EnvironmentError::Line { line: 2, .. }));
    for text in ["env = { A = \"1\\u0000\" }", "env = { 'A=B' = '1' }", "env = { '' = '1' }", "env = [\"A=1\\u0000\"]"]
    {
        assert!(toml::from_str::<Grants>(text).is_err(), "{text}");
    }
}

#[test]
fn a_file_has_the_names_of_options_and_no_others() {
    let grants: Grants = toml::from_str(
        r#"
        dir = ["d::/d:ro", { host = "a:b", access = "ro" }]
        env = { A = "1" }
        inherit-env = true
        allow-net = "tcp:127.0.0.1:80"
        keyvalue = true
        random-seed = 7
        frozen-clock = 2026-01-31T12:00:00Z
        "#,
    )
    .expect("valid");
    assert_eq!(grants.directories[1].guest, "a:b");
    assert_eq!(grants.keyvalue, Some(KeyValuePairs::default()));
    assert_eq!(grants.frozen_clock, Some("2026-01-31T12:00:00Z".parse().expect("a time")));
    let address: SocketAddr = "127.0.0.1:80".parse().expect("an address");
    assert!(grants.allow_net[0].allows(NetworkUse::TcpConnect(address)));
    for text in ["dirs = []", "dir = 'a::b::c'", "dir = [{ host = 'a', mode = 'ro' }]", "frozen-clock = '12:00'"] {
        assert!(toml::from_str::<Grants>(text).is_err(), "{text}");
    }
    let error = toml::from_str::<Grants>("unknown = 1").expect_err("an unknown key").to_string();
    assert!(Grants::KEYS.iter().all(|key| error.contains(&format!("`{key}`"))), "{error}");
}
