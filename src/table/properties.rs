//! Properties: what the manifest says of a table, once more, in the table itself.
//!
//! They are compared at the table's first use, and are what is left to know a table by if its manifest is lost.
//! Variants are only ever added to [`Properties`], at its end, and old ones stay decodable for ever.
//! For tables bincode is named here and where [`Meta`](super::Meta) is defined.

use bincode::{Decode, Encode};

use crate::error::{Error, ErrorKind, Result};
use crate::options::KEY_BYTES_MAX;
use crate::record::Seq;
use crate::table::Meta;

/// What bincode may claim while it decodes: two keys and a few numbers.
const BYTES_MAX: usize = 4 * KEY_BYTES_MAX;

#[derive(Encode, Decode)]
enum Properties {
    V1 {
        smallest: Vec<u8>,
        largest: Vec<u8>,
        first_seq: Seq,
        last_seq: Seq,
        records: u64,
        keys: u64,
        deletes: u64,
        data_bytes: u64,
        purged_seq: Seq,
    },
}

/// The section of a table that `meta` describes, without padding.
pub fn encode(meta: &Meta) -> Result<Vec<u8>> {
    let properties = Properties::V1 {
        smallest: meta.smallest.clone(),
        largest: meta.largest.clone(),
        first_seq: meta.first_seq,
        last_seq: meta.last_seq,
        records: meta.records,
        keys: meta.keys,
        deletes: meta.deletes,
        data_bytes: meta.data_bytes,
        purged_seq: meta.purged_seq,
    };
    bincode::encode_to_vec(properties, bincode::config::standard())
        .map_err(|e| Error::new(ErrorKind::Internal, format!("encode a table's properties: {e}")))
}

/// Does the section say what the manifest says?
pub fn agree(section: &[u8], meta: &Meta) -> Result<(), String> {
    let told = decode(section, meta.number, meta.len, meta.footer_check)?;
    if told == *meta { Ok(()) } else { Err("the table's properties are not what the manifest says of it".to_owned()) }
}

/// What the section says of the table with this number, length and check of the footer.
pub fn decode(section: &[u8], number: u64, len: u64, footer_check: u32) -> Result<Meta, String> {
    let config = bincode::config::standard().with_limit::<BYTES_MAX>();
    let (properties, used): (Properties, usize) = bincode::decode_from_slice(section, config)
        .map_err(|e| format!("the table has properties that this version can't read: {e}"))?;
    if used != section.len() {
        return Err("the table's properties are longer than they should be".to_owned());
    }
    let Properties::V1 { smallest, largest, first_seq, last_seq, records, keys, deletes, data_bytes, purged_seq } =
        properties;
    Ok(Meta {
        number,
        len,
        footer_check,
        smallest,
        largest,
        first_seq,
        last_seq,
        records,
        keys,
        deletes,
        data_bytes,
        purged_seq,
    })
}
