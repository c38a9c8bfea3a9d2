use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

fn options(words: &str) -> Result<Options, String> {
    let words = ["bench"].into_iter().chain(words.split_whitespace());
    Line::try_parse_from(words).map(|line| line.options).map_err(|error| error.to_string())
}

fn said(result: Result<Plan, Failure>) -> String {
    result.map(|_| String::new()).unwrap_or_else(|failure| failure.to_string())
}

#[test]
fn a_plan_is_what_the_command_line_says() {
    let line = "--servers 127.0.0.1,127.0.0.2:6767 --giaddr 127.0.0.9:6768 --rate max --mix renew --duration 2m";
    let plan = plan(options(line).expect("it parses")).expect("it makes sense");
    assert_eq!(plan.servers[0].to_string(), "127.0.0.1:67");
    assert_eq!((plan.servers.len(), plan.rate), (2, Rate::Max));
    assert!(plan.identity.any_port && plan.mix.begins_bound() && !plan.keep);
    assert_eq!(plan.duration, Duration::from_secs(120));
    // Where servers reply to without being asked.
    let usual = "--servers 127.0.0.1 --giaddr 127.0.0.9";
    assert!(!super::plan(options(usual).expect("it parses")).expect("sense").identity.any_port);
}

#[test]
fn mistakes_are_told_before_anything_is_sent() {
    for (line, says) in [
        ("--giaddr 127.0.0.9", "--servers"),
        ("--servers 127.0.0.1", "--giaddr"),
        ("--servers 255.255.255.255 --giaddr 127.0.0.9", "not the address of one machine"),
        ("--servers 224.0.0.1 --giaddr 127.0.0.9", "not the address of one machine"),
        ("--servers 0.0.0.0 --giaddr 127.0.0.9", "not the address of one machine"),
        ("--servers 127.0.0.1 --giaddr 127.0.0.9:0", "no port 0"),
        ("--servers dhcp.example --giaddr 127.0.0.9", "an IPv4 address"),
        ("--servers 127.0.0.1 --giaddr 127.0.0.9 --rate 0", "or max"),
        ("--servers 127.0.0.1 --giaddr 127.0.0.9 --clients 0", "0 is not in"),
        ("--servers 127.0.0.1 --giaddr 127.0.0.9 --mix request", "right after discover"),
        ("--servers 127.0.0.1 --giaddr 127.0.0.9 --duration 2h", "at most 1h"),
        ("--servers 127.0.0.1 --giaddr 127.0.0.9 --duration 0s", "longer than that"),
    ] {
        let error = options(line).expect_err(line);
        assert!(error.contains(says), "{line}: {error}");
    }
    for (line, says) in [
        ("--servers 127.0.0.1,127.0.0.1:67 --giaddr 127.0.0.9", "127.0.0.1:67 is named twice"),
        ("--servers 127.0.0.1 --giaddr 127.0.0.1", "is a server too"),
        ("--servers 127.0.0.1 --giaddr 127.0.0.9 --timeout 61s", "60 s at most"),
    ] {
        let said = said(plan(options(line).expect("it parses")));
        assert!(said.contains(says), "{line}: {said}");
    }
}

#[test]
fn a_server_beyond_this_machine_is_not_asked_without_a_word() {
    let plan = |line: &str| plan(options(line).expect("it parses")).expect("it makes sense");
    let here = plan("--servers 127.0.0.1,127.255.0.1 --giaddr 127.0.0.9");
    assert!(confirmed(&here, false).is_ok());
    let there = plan("--servers 127.0.0.1,192.0.2.1 --giaddr 192.0.2.9 --rate 500 --clients 20");
    assert!(confirmed(&there, true).is_ok());
    let said = confirmed(&there, false).expect_err("refused").to_string();
    assert!(said.starts_with("192.0.2.1:67 is not on this machine. 20 clients would begin 500 steps a second for 11 s"), "{said}");
    assert!(said.ends_with("Nothing was sent; say --yes to do it"), "{said}");
}

#[path = "report_tests.rs"]
mod report_tests;
