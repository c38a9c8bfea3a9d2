//! Notes as messages. What a peer sends that cannot be read is left out: notes are best effort, and
//! a newer peer may say things this node does not know. Pure.

use std::net::Ipv4Addr;

use bytes::Bytes;
use leasehold_proto::cluster as pb;

use super::notes::Note;
use crate::dhcp::decision::{Answered, Link, ReplyKind};
use crate::state::ConfigVersion;
use crate::types::{ClientId, ClientKey, HwAddr, SubnetId};

/// The most entries of one message that are read.
const MOST: usize = 2 * super::notes::PER_NOTE;

/// A note to send.
pub fn note_out(note: Note) -> pb::Note {
    let heard = note.heard.into_iter().map(|(link, count)| {
        let link = match link {
            Link::Relay(relay) => pb::heard::Link::Relay(relay.into()),
            Link::Subnet(subnet) => pb::heard::Link::Subnet(subnet.0),
        };
        pb::Heard { link: Some(link), count }
    });
    let answered = note.answered.into_iter().map(|answered| {
        let client = match answered.client {
            ClientKey::Id(id) => pb::answered::Client::ClientId(Bytes::copy_from_slice(id.bytes())),
            ClientKey::Hw(hw) => pb::answered::Client::Hardware(pb::Hardware {
                r#type: hw.htype().into(),
                address: Bytes::copy_from_slice(hw.bytes()),
            }),
        };
        pb::Answered {
            client: Some(client),
            kind: kind_out(answered.kind),
            address: answered.address.map(u32::from),
            identity: answered.identity.into(),
        }
    });
    pb::Note {
        config: note.config.0,
        heard: heard.collect(),
        answered: answered.collect(),
        ..pb::Note::default()
    }
}

/// A note that was received.
pub fn note_in(note: pb::Note) -> Note {
    let heard = note.heard.into_iter().take(MOST).filter_map(|heard| {
        let link = match heard.link? {
            pb::heard::Link::Relay(relay) => Link::Relay(relay.into()),
            pb::heard::Link::Subnet(subnet) => Link::Subnet(SubnetId(subnet)),
        };
        Some((link, heard.count))
    });
    let answered = note.answered.into_iter().take(MOST).filter_map(|answered| {
        let client = match answered.client? {
            pb::answered::Client::ClientId(id) => ClientKey::Id(ClientId::new(&id).ok()?),
            pb::answered::Client::Hardware(hw) => {
                ClientKey::Hw(HwAddr::new(u8::try_from(hw.r#type).ok()?, &hw.address).ok()?)
            }
        };
        Some(Answered {
            client,
            kind: kind_in(answered.kind)?,
            address: answered.address.map(Ipv4Addr::from),
            identity: answered.identity.into(),
        })
    });
    Note {
        heard: heard.collect(),
        answered: answered.collect(),
        config: ConfigVersion(note.config),
    }
}

fn kind_out(kind: ReplyKind) -> u32 {
    match kind {
        ReplyKind::Offer => 1,
        ReplyKind::Ack => 2,
        ReplyKind::InformAck => 3,
        ReplyKind::Nak => 4,
    }
}

fn kind_in(number: u32) -> Option<ReplyKind> {
    [ReplyKind::Offer, ReplyKind::Ack, ReplyKind::InformAck, ReplyKind::Nak]
        .into_iter()
        .find(|kind| kind_out(*kind) == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(client: ClientKey, kind: ReplyKind, address: Option<Ipv4Addr>) -> Answered {
        Answered { client, kind, address, identity: [192, 0, 2, 1].into() }
    }

    #[test]
    fn notes_arrive_as_they_were_sent() {
        let hw = ClientKey::Hw(HwAddr::ethernet([2, 0, 0, 0, 0, 1]));
        let id = ClientKey::Id(ClientId::new(&[1, 2, 3]).unwrap());
        let note = Note {
            heard: vec![(Link::Relay([192, 0, 2, 9].into()), 3), (Link::Subnet(SubnetId(7)), 1)],
            answered: vec![
                answered(hw.clone(), ReplyKind::Offer, Some([192, 0, 2, 100].into())),
                answered(id.clone(), ReplyKind::Ack, Some([192, 0, 2, 101].into())),
                answered(id, ReplyKind::Nak, None),
                answered(hw, ReplyKind::InformAck, None),
            ],
            config: ConfigVersion(4),
        };
        assert_eq!(note_in(note_out(note.clone())), note);
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let hardware = pb::Hardware { r#type: 1, address: Bytes::from_static(&[0; 17]) };
        let broken = [
            pb::Answered { kind: 1, ..pb::Answered::default() },
            pb::Answered {
                client: Some(pb::answered::Client::Hardware(hardware)),
                kind: 1,
                ..pb::Answered::default()
            },
            pb::Answered {
                client: Some(pb::answered::Client::ClientId(Bytes::from_static(&[1, 2]))),
                kind: 9,
                ..pb::Answered::default()
            },
        ];
        let note = pb::Note {
            heard: vec![pb::Heard { link: None, count: 1 }],
            answered: broken.to_vec(),
            ..pb::Note::default()
        };
        assert_eq!(note_in(note), Note::default());
    }
}
