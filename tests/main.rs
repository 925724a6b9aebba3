//! Tests of the whole program from outside: what a user types, what is printed, what is left on disk.

mod harness;

mod backtest;
mod bad_input;
mod bench;
mod data;
mod faults;
mod guard;
mod help;
mod kills;
mod ledger;
mod models;
mod own_runs;
mod plan;
mod prices;
mod run;
