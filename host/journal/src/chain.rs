//! The hash chain, and what is stored of it.
//!
//! `commitment = sha256(salt || payload)` over their stored texts, `digest = sha256(previous digest || seq (8 bytes,
//! big-endian) || commitment)`; the digest before event 1 is 32 zero bytes. Link and payload are separate records: an erased
//! payload takes its salt with it, so that the commitment that stays tells nothing, and the chain still verifies.
//!
//! **Invariant**: the payload is hashed as its stored bytes; nothing is serialized again to check it.

use lakehouse_storage::Record;
use lakehouse_types::{Digest, random_bytes};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::{Event, JournalError, Proof, Result};

pub(crate) type Hash = [u8; 32];

pub(crate) const GENESIS: Hash = [0; 32];

const OTHER_PAYLOAD: &str = "the payload is not the one that was sealed";

/// The chain's link of one event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Link {
    pub(crate) commitment: Digest,
    pub(crate) digest: Digest,
}

impl Record for Link {
    const COLLECTION: &'static str = "journal_links";
    const FORMAT: u32 = 1;
}

/// What an event says, and the salt of its commitment.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Payload {
    salt: String,
    event: Box<RawValue>,
}

impl Record for Payload {
    const COLLECTION: &'static str = "journal_payloads";
    const FORMAT: u32 = 1;
}

/// Keys sort as their numbers do.
pub(crate) fn key(seq: u64) -> String {
    format!("{seq:020}")
}

/// Reads the number back; `None` for anything else.
pub(crate) fn seq(key: &str) -> Option<u64> {
    if key.len() == 20 { key.parse().ok() } else { None }
}

/// Seals an event after `previous`: its link, its payload, and the new end of the chain.
pub(crate) fn seal(previous: &Hash, event: &Event) -> Result<(Link, Payload, Hash)> {
    seal_with(previous, event, random_bytes())
}

fn seal_with(previous: &Hash, event: &Event, salt: [u8; 16]) -> Result<(Link, Payload, Hash)> {
    let payload = Payload { salt: hex(&salt), event: serde_json::value::to_raw_value(event).map_err(JournalError::Encode)? };
    let commitment = payload.commitment();
    let digest = digest(previous, event.seq, &commitment);
    Ok((Link { commitment: Digest::from_bytes(&commitment), digest: Digest::from_bytes(&digest) }, payload, digest))
}

impl Payload {
    fn commitment(&self) -> Hash {
        commitment(&self.salt, self.event.get())
    }

    /// The event, after its payload was checked against its link.
    pub(crate) fn open(&self, seq: u64, link: &Link) -> Result<Event> {
        let broken = |what| JournalError::Broken { seq, what };
        if Digest::from_bytes(&self.commitment()) != link.commitment {
            return Err(broken(OTHER_PAYLOAD));
        }
        let event: Event = serde_json::from_str(self.event.get()).map_err(|_| broken("the payload is not an event"))?;
        if event.seq != seq {
            return Err(broken("the payload belongs to another event"));
        }
        Ok(Event { digest: Some(link.digest.clone()), ..event })
    }

    /// What others need to check the link after `previous`.
    pub(crate) fn into_proof(self, previous: &Hash, link: &Link) -> Proof {
        let (previous, commitment) = (Digest::from_bytes(previous), link.commitment.clone());
        Proof { previous, commitment, salt: self.salt.into(), payload: self.event.into() }
    }
}

impl Proof {
    /// The digest of event `seq`, computed anew.
    ///
    /// # Errors
    /// When the payload is not the one that was committed to, or a digest is none.
    pub fn digest(&self, seq: u64) -> Result<Digest> {
        let broken = |what| JournalError::Broken { seq, what };
        let (Some(previous), Some(committed)) = (bytes(&self.previous), bytes(&self.commitment)) else {
            return Err(broken("the proof holds something that is no digest"));
        };
        if commitment(&self.salt, &self.payload) != committed {
            return Err(broken(OTHER_PAYLOAD));
        }
        Ok(Digest::from_bytes(&digest(&previous, seq, &committed)))
    }
}

impl Link {
    /// The end of the chain after this link, checked against what the link says it is.
    pub(crate) fn follow(&self, previous: &Hash, seq: u64) -> Result<Hash> {
        let broken = |what| JournalError::Broken { seq, what };
        let commitment = bytes(&self.commitment).ok_or_else(|| broken("the commitment is no digest"))?;
        let expected = digest(previous, seq, &commitment);
        if Digest::from_bytes(&expected) == self.digest { Ok(expected) } else { Err(broken("the chain is interrupted here")) }
    }
}

fn commitment(salt: &str, payload: &str) -> Hash {
    let mut hash = Sha256::new();
    hash.update(salt.as_bytes());
    hash.update(payload.as_bytes());
    hash.finalize().into()
}

fn digest(previous: &Hash, seq: u64, commitment: &Hash) -> Hash {
    let mut hash = Sha256::new();
    hash.update(previous);
    hash.update(seq.to_be_bytes());
    hash.update(commitment);
    hash.finalize().into()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of a digest.
pub(crate) fn bytes(digest: &Digest) -> Option<Hash> {
    let mut hash = GENESIS;
    for (byte, pair) in hash.iter_mut().zip(digest.as_str().as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use lakehouse_types::{Actor, DatasetName, ProfileId, RequestId};
    use serde_json::json;

    use super::{GENESIS, Link, Payload, bytes, key, seal_with, seq};
    use crate::{Draft, Event, EventKind, Stamp};

    fn event() -> Event {
        let by = Stamp {
            actor: Actor::new("ada").unwrap(),
            role: "admin".into(),
            profile: Some(ProfileId::default_profile()),
            request_id: RequestId::new("01J0000000000000000000000").unwrap(),
            at: "2026-01-02T03:04:05.678901Z".parse().unwrap(),
        };
        let draft = Draft::new(EventKind::Ingest, "candidates")
            .dataset(DatasetName::new("candidates").unwrap())
            .details(json!({"rows": 3, "mode": "append"}));
        Event::new(7, &by, draft)
    }

    #[test]
    fn the_stored_form_stays_as_it_is() {
        let (link, payload, _) = seal_with(&GENESIS, &event(), [0xab; 16]).unwrap();
        let golden = include_str!("../golden/event-1.json");
        let stored = format!("{}\n{}\n", serde_json::to_string(&link).unwrap(), serde_json::to_string(&payload).unwrap());
        assert_eq!(stored, golden);

        let mut lines = golden.lines();
        let link: Link = serde_json::from_str(lines.next().unwrap()).unwrap();
        let payload: Payload = serde_json::from_str(lines.next().unwrap()).unwrap();
        assert_eq!(payload.open(7, &link).unwrap(), Event { digest: Some(link.digest.clone()), ..event() });
        assert_eq!(Some(link.follow(&GENESIS, 7).unwrap()), bytes(&link.digest));
    }

    #[test]
    fn every_flipped_bit_of_a_stored_event_is_detected() {
        let (link, payload, _) = seal_with(&GENESIS, &event(), [7; 16]).unwrap();
        let whole = |link: &[u8], payload: &[u8]| -> Option<Event> {
            let link: Link = serde_json::from_slice(link).ok()?;
            let payload: Payload = serde_json::from_slice(payload).ok()?;
            link.follow(&GENESIS, 7).ok()?;
            payload.open(7, &link).ok()
        };
        let (link, payload) = (serde_json::to_vec(&link).unwrap(), serde_json::to_vec(&payload).unwrap());
        assert!(whole(&link, &payload).is_some());
        let flip = |bytes: &[u8], bit: usize| {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped
        };
        for bit in 0..link.len() * 8 {
            assert!(whole(&flip(&link, bit), &payload).is_none(), "bit {bit} of the link");
        }
        for bit in 0..payload.len() * 8 {
            assert!(whole(&link, &flip(&payload, bit)).is_none(), "bit {bit} of the payload");
        }
    }

    #[test]
    fn keys_sort_as_numbers() {
        assert!(key(9) < key(10));
        assert_eq!(seq(&key(u64::MAX)), Some(u64::MAX));
        assert_eq!(seq("12"), None);
    }
}
