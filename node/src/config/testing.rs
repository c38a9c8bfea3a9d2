//! Large documents for tests and measurements.

use std::fmt::Write;

/// A file with `subnets` subnets of a /16 each, and in each of them `reservations` reservations by
/// hardware address, one in ten with an option, spread as a provisioning system would write them.
pub(crate) fn large(subnets: u32, reservations: u32) -> String {
    let mut text = String::from("{ \"Dhcp4\": {\n  \"valid-lifetime\": 3600,\n  \"subnet4\": [");
    for subnet in 0..subnets {
        let [_, high, low, _] = (0x0a00_0000 + (subnet << 8)).to_be_bytes();
        let comma = if subnet == 0 { "" } else { "," };
        let size = if reservations > 200 { 8 } else { 24 };
        let prefix =
            if size == 8 { "10.0.0.0/8".to_owned() } else { format!("10.{high}.{low}.0/24") };
        let pool = if size == 8 {
            "10.255.0.0 - 10.255.255.254".to_owned()
        } else {
            format!("10.{high}.{low}.210 - 10.{high}.{low}.250")
        };
        write!(
            text,
            "{comma}\n    {{ \"id\": {}, \"subnet\": \"{prefix}\", \"pools\": [ {{ \"pool\": \"{pool}\" }} ],\n      \"option-data\": [ {{ \"name\": \"routers\", \"data\": \"10.{high}.{low}.1\" }} ],\n      \"reservations\": [",
            subnet + 1
        )
        .expect("a string takes everything");
        for host in 0..reservations {
            let [_, b, c, d] = (0x0a00_0000 + (subnet << 8) + host + 2).to_be_bytes();
            let comma = if host == 0 { "" } else { "," };
            let option = if host % 10 == 9 {
                ", \"option-data\": [ { \"name\": \"tftp-server-name\", \"data\": \"boot\" } ]"
            } else {
                ""
            };
            write!(
                text,
                "{comma}\n        {{ \"hw-address\": \"02:00:{:02x}:{b:02x}:{c:02x}:{d:02x}\", \"ip-address\": \"10.{b}.{c}.{d}\", \"hostname\": \"host-{subnet}-{host}\"{option} }}",
                subnet & 0xff
            )
            .expect("a string takes everything");
        }
        text.push_str(" ] }");
    }
    text.push_str(" ] } }\n");
    text
}
