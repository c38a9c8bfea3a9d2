//! The Debian package and the units, on a machine that boots for the test: installed, started, asked for a lease, upgraded, removed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use chaos_tests::floor::netns::cleanup::WorkDir;
use chaos_tests::floor::netns::machine::{self, Machine};
use chaos_tests::floor::netns::topology::{Namespace, Nic, Switch};
use chaos_tests::{clock, gate};

/// What a user writes in place of the configuration that was installed.
const CONFIG: &str = r#"{ "Dhcp4": {
    "interfaces-config": { "interfaces": [ "eth0" ] },
    "valid-lifetime": 3600,
    "subnet4": [ { "id": 1, "subnet": "10.77.0.0/16", "pools": [ { "pool": "10.77.16.0 - 10.77.31.255" } ] } ]
} }"#;

const READY: &str = "http://127.0.0.1:8000/health/ready";

/// CAP_NET_BIND_SERVICE and CAP_NET_RAW, as /proc shows them.
const CAPABILITIES: u64 = 1 << 10 | 1 << 13;

/// How exposed systemd may call the service, in tenths: 0 is a program that may do nothing.
const EXPOSURE: u32 = 20;

/// What is left after a purge beside the leases, and is dpkg's, systemd's or everybody's. `docs/install.md` says so.
const LEFT: &[&str] = &[
    "/etc/group",
    "/etc/gshadow",
    "/etc/passwd",
    "/etc/shadow",
    "/etc/.pwd.lock",
    "/var/cache",
    "/var/lib/dpkg",
    "/var/lib/leasehold",
    "/var/lib/systemd",
    "/var/log",
];

/// A server's machine on a LAN with one client.
struct Place {
    machine: Machine,
    client: Namespace,
    lab: WorkDir,
    _lan: Switch,
}

fn place(test: &str) -> Result<Place> {
    let lab = WorkDir::create(test)?;
    let lan = Switch::create("lan")?;
    let (host, client) = (Namespace::create("host")?, Namespace::create("client")?);
    let address = Some(([10, 77, 0, 1].into(), 16));
    lan.plug(&host, "eth0", "host", Nic { mac: None, address })?;
    lan.plug(&client, "eth0", "client", Nic::default())?;
    Ok(Place { machine: Machine::boot("rack-a-1", host, lab.path())?, client, lab, _lan: lan })
}

/// One value that `systemctl show` has of the service.
fn property(machine: &Machine, name: &str) -> Result<String> {
    Ok(machine.run(&format!("systemctl show --value -p {name} leasehold"))?.trim().to_owned())
}

/// A line of /proc/PID/status of the service, as a number in base `radix`.
fn status(machine: &Machine, name: &str, radix: u32) -> Result<u64> {
    let pid = property(machine, "MainPID")?;
    let text = machine.run(&format!("sed -n 's/^{name}:\\s*//p' /proc/{pid}/status"))?;
    u64::from_str_radix(text.trim(), radix).with_context(|| format!("{name}: {text}"))
}

#[test]
fn the_package_is_installed_serves_a_lease_and_leaves_nothing_but_leases() -> Result<()> {
    let test = "the_package_is_installed_serves_a_lease_and_leaves_nothing_but_leases";
    let Some(_gate) = gate::enter(test, machine::TOOLS)? else { return Ok(()) };
    let Place { machine, client, mut lab, _lan } = place(test)?;
    let before: BTreeSet<PathBuf> = machine.written()?.into_iter().collect();
    let package = machine::seen(&machine::package(lab.path())?)?;

    // Installing starts nothing: the first start forms a cluster.
    machine.run(&format!("dpkg -i {package}"))?;
    ensure!(property(&machine, "ActiveState")? == "inactive", "it was started");
    machine.run("leasehold check-settings /etc/leasehold/node.toml")?;
    machine.run("leasehold check-config /etc/leasehold/kea-dhcp4.conf")?;
    machine
        .run("zcat /usr/share/man/man8/leasehold.8.gz | grep -q '^.SH leasehold check.config'")?;
    for file in ["node.toml", "kea-dhcp4.conf"] {
        let mode = machine.run(&format!("stat -c '%a %U %G' /etc/leasehold/{file}"))?;
        ensure!(mode.trim() == "640 root leasehold", "{file}: {mode}");
    }

    std::fs::write(lab.path().join("mine.conf"), CONFIG)?;
    machine.run("cat /media/lab/mine.conf > /etc/leasehold/kea-dhcp4.conf")?;
    machine.run("systemctl enable --now leasehold")?;
    machine.wait_ready(READY, 20_000)?;
    let got = machine::lease(&client).with_context(|| machine.journal("leasehold"))?;
    ensure!(got.server == "10.77.0.1" && got.seconds == 3600, "{got:?}");
    confined(&machine)?;

    // A crash is mended, and costs no lease.
    let died = property(&machine, "MainPID")?;
    machine.run(&format!("kill -9 {died}"))?;
    clock::wait_for("another process", 15_000, || {
        property(&machine, "MainPID").ok().filter(|pid| *pid != died && pid != "0")
    })?;
    machine.wait_ready(READY, 20_000)?;
    holds(&machine, &got.address)?;

    // A mistake in the settings is not tried again and again.
    machine.run(
        "sed -i '1i nonsense = 1' /etc/leasehold/node.toml; systemctl restart leasehold || true",
    )?;
    clock::wait_for("the unit to give up", 15_000, || {
        property(&machine, "ActiveState").is_ok_and(|state| state == "failed").then_some(())
    })
    .with_context(|| machine.journal("leasehold"))?;
    ensure!(property(&machine, "ExecMainStatus")? == "1", "{}", machine.journal("leasehold"));
    machine.run("sed -i 1d /etc/leasehold/node.toml; systemctl start leasehold")?;
    machine.wait_ready(READY, 20_000)?;

    // A reload keeps the process, and so does an upgrade of the package, with the user's files.
    let pid = property(&machine, "MainPID")?;
    machine.run("systemctl reload leasehold")?;
    let said = machine.run(&format!("dpkg -i {package}"))?;
    ensure!(said.contains("systemctl restart leasehold"), "{said}");
    ensure!(property(&machine, "MainPID")? == pid, "another process");
    machine.run("cmp /media/lab/mine.conf /etc/leasehold/kea-dhcp4.conf")?;

    // Removed and installed again: the files and the lease are those of before.
    machine.run("dpkg -r leasehold")?;
    ensure!(
        machine.run_any("test -e /usr/bin/leasehold || pidof leasehold", 5_000)?.code == Some(1),
        "it is there"
    );
    machine.run(&format!("dpkg -i {package} && systemctl start leasehold"))?;
    machine.wait_ready(READY, 20_000)?;
    holds(&machine, &got.address)?;

    let said = machine.run("dpkg -P leasehold")?;
    ensure!(said.contains("/var/lib/leasehold is kept"), "{said}");
    ensure!(machine.run("ls -A /var/lib/leasehold")?.contains("identity"), "the leases went");
    let left: Vec<PathBuf> = machine
        .written()?
        .into_iter()
        .filter(|path| !before.contains(path) && !LEFT.iter().any(|known| below(path, known)))
        .filter(|path| !path.is_dir() || path.to_string_lossy().contains("leasehold"))
        .collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    lab.passed();
    Ok(())
}

/// Whether `path` is `known`, lies in it, or is the copy with a dash that the user data base keeps of it.
fn below(path: &Path, known: &str) -> bool {
    path.starts_with(known) || path.to_string_lossy().strip_suffix('-') == Some(known)
}

fn holds(machine: &Machine, address: &str) -> Result<()> {
    let leases = machine.run("cluster-ctl lease list")?;
    ensure!(leases.contains(address), "{address} is not among\n{leases}");
    Ok(())
}

/// What the process may do, and what others may see of it.
fn confined(machine: &Machine) -> Result<()> {
    let effective = status(machine, "CapEff", 16)?;
    ensure!(effective & !CAPABILITIES == 0, "capabilities {effective:x}");
    ensure!(status(machine, "CapBnd", 16)? & !CAPABILITIES == 0, "the bounding set");
    ensure!(status(machine, "NoNewPrivs", 10)? == 1, "new privileges");
    ensure!(status(machine, "Seccomp", 10)? == 2, "no filter of system calls");
    let user = machine.run("ps -o user= -p \"$(pidof leasehold)\"")?;
    ensure!(user.trim() == "leasehold", "it runs as {user}");
    let open = machine.run("find /var/lib/leasehold -perm /077")?;
    ensure!(open.is_empty(), "readable by others: {open}");
    // Strangers do not get as far as the socket.
    let stranger = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    for path in [
        "/var/lib/leasehold/identity",
        "/etc/leasehold/node.toml",
        "/run/leasehold/kea4-ctrl-socket",
    ] {
        let seen = machine.run_any(&format!("{stranger} test -e {path}"), 5_000)?;
        ensure!(seen.code == Some(1), "a stranger sees {path}");
    }
    // What systemd itself thinks of the unit.
    machine.run("systemd-analyze verify --man=no /usr/lib/systemd/system/leasehold.service")?;
    let rating = machine.run_any(
        &format!("systemd-analyze security --no-pager --threshold={EXPOSURE} leasehold.service"),
        20_000,
    )?;
    let summary = rating.stdout.lines().last().unwrap_or_default().to_owned();
    println!("{summary}");
    ensure!(rating.code == Some(0), "{}{}", rating.stdout, rating.stderr);
    Ok(())
}

#[test]
fn the_unit_that_takes_kea_s_place_serves_kea_s_file() -> Result<()> {
    let test = "the_unit_that_takes_kea_s_place_serves_kea_s_file";
    let Some(_gate) = gate::enter(test, machine::TOOLS)? else { return Ok(()) };
    let Place { machine, client, mut lab, _lan } = place(test)?;
    let package = machine::seen(&machine::package(lab.path())?)?;
    std::fs::write(lab.path().join("mine.conf"), CONFIG)?;
    machine.run(&format!(
        "dpkg -i {package} && ln -sf /usr/bin/leasehold /usr/sbin/kea-dhcp4 && mkdir -p /etc/kea && \
         cp /media/lab/mine.conf /etc/kea/kea-dhcp4.conf && \
         cp /usr/share/doc/leasehold/examples/kea-dhcp4.service /etc/systemd/system/ && systemctl daemon-reload && \
         systemd-analyze verify --man=no /etc/systemd/system/kea-dhcp4.service && systemctl start kea-dhcp4"
    ))?;
    machine.wait_ready(READY, 20_000).with_context(|| machine.journal("kea-dhcp4"))?;
    let got = machine::lease(&client).with_context(|| machine.journal("kea-dhcp4"))?;
    machine.run("systemctl reload kea-dhcp4 && systemctl restart kea-dhcp4")?;
    machine.wait_ready(READY, 20_000).with_context(|| machine.journal("kea-dhcp4"))?;
    holds(&machine, &got.address)?;
    machine.run("systemctl stop kea-dhcp4")?;
    let result = machine.run("systemctl show --value -p Result kea-dhcp4")?;
    ensure!(result.trim() == "success", "{}", machine.journal("kea-dhcp4"));
    lab.passed();
    Ok(())
}
