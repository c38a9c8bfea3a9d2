//! The program as an operator meets it, without a cluster: what it says when nothing answers.

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cluster-ctl"))
        .env_remove("LEASEHOLD_NODE")
        .args(arguments)
        .output()
        .expect("the program starts")
}

#[test]
fn a_node_that_does_not_answer_is_named_and_the_exit_status_is_2() {
    // Port 1 of loopback refuses at once.
    let output = run(&["--node", "http://127.0.0.1:1", "status"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("127.0.0.1:1"), "{text}");
}

#[test]
fn help_names_every_command_of_the_readme() {
    let output = run(&["--help"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success());
    for command in ["status", "leader", "lease", "config"] {
        assert!(text.contains(command), "{command} not in {text}");
    }
}
