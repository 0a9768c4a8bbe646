//! One directory: the names that the process sees, and those that the disk may hold.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use super::CutModel;
use super::fate::Fate;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// A file, by its number, which no other file ever gets.
    File(u64),
    /// A directory.
    Dir,
}

/// A change of one name that is not durable yet.
struct Effect {
    /// Effects of one call: a journal writes them together.
    call: u64,
    name: OsString,
    /// Nothing: the name is gone.
    node: Option<Node>,
}

/// A directory's names.
#[derive(Default)]
pub(super) struct SimDir {
    current: BTreeMap<OsString, Node>,
    synced: BTreeMap<OsString, Node>,
    pending: Vec<Effect>,
}

impl SimDir {
    /// A directory all of whose names are on the disk.
    pub(super) fn durable(synced: BTreeMap<OsString, Node>) -> SimDir {
        SimDir { current: synced.clone(), synced, pending: Vec::new() }
    }

    pub(super) fn get(&self, name: &OsStr) -> Option<Node> {
        self.current.get(name).copied()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = (&OsString, Node)> {
        self.current.iter().map(|(name, &node)| (name, node))
    }

    /// Every file that some outcome of a power cut, or the process, can still see.
    pub(super) fn files(&self) -> impl Iterator<Item = u64> {
        let nodes = self.current.values().chain(self.synced.values()).copied();
        nodes.chain(self.pending.iter().filter_map(|effect| effect.node)).filter_map(|node| match node {
            Node::File(file) => Some(file),
            Node::Dir => None,
        })
    }

    /// How many decisions a power cut has to make here.
    pub(super) fn unsynced(&self) -> usize {
        self.pending.len()
    }

    /// Changes one name, not durably; returns what it stood for.
    pub(super) fn set(&mut self, call: u64, name: &OsStr, node: Option<Node>) -> Option<Node> {
        self.pending.push(Effect { call, name: name.to_owned(), node });
        apply(&mut self.current, name, node)
    }

    /// Changes one name on the disk itself; returns what it stood for.
    pub(super) fn set_durably(&mut self, name: &OsStr, node: Option<Node>) -> Option<Node> {
        self.pending.retain(|effect| effect.name != name);
        apply(&mut self.synced, name, node);
        apply(&mut self.current, name, node)
    }

    /// Every change so far is on the disk now, but for what an earlier failure lost.
    pub(super) fn sync(&mut self) {
        for effect in self.pending.drain(..) {
            apply(&mut self.synced, &effect.name, effect.node);
        }
    }

    /// A sync failed: nothing reached the disk, and no later sync will bring it there.
    pub(super) fn lose(&mut self) {
        self.pending.clear();
    }

    /// The names on the disk after a power cut right now.
    pub(super) fn survive(&self, model: CutModel, fate: &mut dyn Fate) -> BTreeMap<OsString, Node> {
        fate.next_object();
        let mut names = self.synced.clone();
        match model {
            CutModel::Strict => {}
            CutModel::Ordered => {
                let mut calls: Vec<u64> = self.pending.iter().map(|effect| effect.call).collect();
                calls.dedup();
                let kept = if calls.is_empty() { 0 } else { fate.pick(calls.len() + 1) };
                for effect in self.pending.iter().filter(|effect| calls[..kept].contains(&effect.call)) {
                    apply(&mut names, &effect.name, effect.node);
                }
            }
            CutModel::Hostile => {
                for effect in &self.pending {
                    if fate.survives() {
                        apply(&mut names, &effect.name, effect.node);
                    }
                }
            }
        }
        names
    }
}

fn apply(names: &mut BTreeMap<OsString, Node>, name: &OsStr, node: Option<Node>) -> Option<Node> {
    match node {
        Some(node) => names.insert(name.to_owned(), node),
        None => names.remove(name),
    }
}
