//! An exhaustive model of settlement: two stores and HQ, three events, one crash, one restored ledger, one lost and one
//! repeated message, in every order.
//!
//! # What is real and what is a model
//! | Part | Here |
//! |---|---|
//! | decisions: [`sync_core::replica::store::Replica`], [`sync_core::replica::hq::Hub`], sender, acks, recall | the real objects, cloned at every branch |
//! | wire: every message | real bytes, encoded and decoded |
//! | chain links | real |
//! | ledger | [`book::Book`]: the contract of sync-store's ingest and branch, in memory, with logs as lists of records |
//! | broker and lines | queues in order, lost when a line is cut, with retained messages; [`world::World`] |
//! | time | moves only when nothing else can happen, to the next time that somebody waits for |
//!
//! Not here: disks and their damage, several messages at once in one ledger transaction, time outs while messages move
//! (a repeated message stands for them). The simulator has those, without being exhaustive.
//!
//! # What is checked
//! In every state: an ack names committed records only; HQ has no record twice. In every state in which nothing moves: when
//! all faults end, both sides come to the same logs within bounded time, every record once, everything acknowledged there.

pub mod book;
pub mod check;
pub mod world;
