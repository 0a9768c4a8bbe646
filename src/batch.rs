//! The unit of atomicity: puts and deletes that become visible, and survive, together or not at all.

use std::ops::{Bound, RangeBounds};

use crate::options::KEY_BYTES_MAX;
use crate::record::Kind;

/// Writes that are applied in order, atomically, by [`Db::write`](crate::Db::write).
///
/// Keys and values are copied in. A later write to the same key wins. Size limits are checked
/// when the batch is written, before anything of it is.
///
/// ```
/// # let db = kvs::Db::in_memory(Default::default())?;
/// let mut batch = kvs::Batch::new();
/// batch.put("from", "90").put("to", "110").delete("pending");
/// db.write(&batch)?;
/// # Ok::<(), kvs::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Keys and values, back to back, in order.
    bytes: Vec<u8>,
    writes: Vec<Span>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    kind: Kind,
    key_len: usize,
    value_len: usize,
}

/// One write of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write<'a> {
    pub kind: Kind,
    pub key: &'a [u8],
    pub value: &'a [u8],
}

impl Batch {
    /// A batch of nothing.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Sets `key` to `value`.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> &mut Batch {
        self.push(Kind::Put, key.as_ref(), value.as_ref())
    }

    /// Removes `key`, whether it is there or not.
    pub fn delete(&mut self, key: impl AsRef<[u8]>) -> &mut Batch {
        self.push(Kind::Delete, key.as_ref(), &[])
    }

    /// Removes every key in `range`, whether there are any or not. Writes before it in this batch are removed too, those after it are not.
    pub fn delete_range<K: AsRef<[u8]>>(&mut self, range: impl RangeBounds<K>) -> &mut Batch {
        let bounds = Bounds::of(range);
        // No key is longer than a key may be, so this one comes after all of them.
        let stop = bounds.stop.unwrap_or_else(|| vec![u8::MAX; KEY_BYTES_MAX + 1]);
        self.push(Kind::DeleteRange, bounds.start.as_deref().unwrap_or(&[]), &stop)
    }

    /// Forgets every write; keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.writes.clear();
    }

    /// How many writes it holds.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Does it hold none?
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Bytes of its keys and values.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn writes(&self) -> impl Iterator<Item = Write<'_>> {
        let mut rest = self.bytes.as_slice();
        self.writes.iter().map(move |span| {
            let (key, tail) = rest.split_at(span.key_len);
            let (value, tail) = tail.split_at(span.value_len);
            rest = tail;
            Write { kind: span.kind, key, value }
        })
    }

    fn push(&mut self, kind: Kind, key: &[u8], value: &[u8]) -> &mut Batch {
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.writes.push(Span { kind, key_len: key.len(), value_len: value.len() });
        self
    }
}

/// From `start` up to but without `stop`, owned.
pub(crate) struct Bounds {
    pub start: Option<Vec<u8>>,
    pub stop: Option<Vec<u8>>,
}

impl Bounds {
    pub fn of<K: AsRef<[u8]>>(range: impl RangeBounds<K>) -> Bounds {
        // The smallest key after `k` is `k` and a zero byte.
        let after = |key: &K| [key.as_ref(), &[0]].concat();
        let start = match range.start_bound() {
            Bound::Included(key) => Some(key.as_ref().to_vec()),
            Bound::Excluded(key) => Some(after(key)),
            Bound::Unbounded => None,
        };
        let stop = match range.end_bound() {
            Bound::Included(key) => Some(after(key)),
            Bound::Excluded(key) => Some(key.as_ref().to_vec()),
            Bound::Unbounded => None,
        };
        Bounds { start, stop }
    }

    pub fn with_prefix(prefix: &[u8]) -> Bounds {
        // The first key after all with this prefix: its last byte that is not the largest, raised by one.
        let stop = prefix.iter().rposition(|&byte| byte != u8::MAX).map(|last| {
            let mut stop = prefix[..=last].to_vec();
            stop[last] += 1;
            stop
        });
        Bounds { start: Some(prefix.to_vec()), stop }
    }

    pub fn start(&self) -> Option<&[u8]> {
        self.start.as_deref()
    }

    pub fn stop(&self) -> Option<&[u8]> {
        self.stop.as_deref()
    }
}
