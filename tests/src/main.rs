//! Trials: what the lakehouse must survive and what it promises, asked over HTTP of a real server process.
//!
//! **Invariant**: a test knows the server by HTTP and by the bytes in its folder, and by nothing else.

#![cfg(test)]

mod acts; // what is asked when the end comes in the middle
mod answer; // what came back, and what it must be
mod caller; // who asks
mod lake; // the harness: a server, its folder, its keys
mod python; // others' packages
mod story; // writers, and what they may find
mod torture; // how long
mod turn; // beside others, or alone

mod access;
mod beside;
mod canary;
mod cli;
mod compaction;
mod crash;
mod crowd;
mod damage;
mod erasure;
mod faults;
mod flight;
mod grants;
mod hostile;
mod imports;
mod indexes;
mod ingest;
mod jobs;
mod journal;
mod kinds;
mod names;
mod openapi;
mod plugins;
mod postgres;
mod power;
mod probes;
mod profiles;
mod queries;
mod readers;
mod remote;
mod search;
mod sparse;
mod sql;
mod swap;
mod tls;
mod tombstones;
mod truth;
mod view_chains;
mod views;
