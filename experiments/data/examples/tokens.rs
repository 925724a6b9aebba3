//! Reads captions from stdin, one JSON string a line, and prints what becomes of each, one JSON value a line:
//!
//!     cargo run --release -p shoestring-data --example tokens -- clip < captions.jsonl
//!
//! `clip` and `bert`: its ids without markers; `words`: its words with noun, adjective, verb or rest;
//! `speed`: how many captions a second each of these takes on one core.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::io::{BufRead, stdin};
use std::time::Instant;

use shoestring_data::Tokenizer;
use shoestring_data::text::{Rank, rank};
use shoestring_planner::architecture::TextTokenizer;

fn main() -> Result<(), Box<dyn Error>> {
    let what = std::env::args().nth(1).unwrap_or_default();
    let captions: Vec<String> = stdin()
        .lock()
        .lines()
        .map(|line| Ok(serde_json::from_str(&line?)?))
        .collect::<Result<_, Box<dyn Error>>>()?;
    let (clip, bert) = (Tokenizer::named(TextTokenizer::Clip), Tokenizer::named(TextTokenizer::Bert));
    match what.as_str() {
        "clip" => captions.iter().for_each(|caption| println!("{:?}", clip.encode(caption))),
        "bert" => captions.iter().for_each(|caption| println!("{:?}", bert.encode(caption))),
        "words" => {
            for caption in &captions {
                let words = words(caption);
                let ranks = rank(&words).into_iter().map(|rank| match rank {
                    Rank::Noun => "noun",
                    Rank::Adjective => "adjective",
                    Rank::Verb => "verb",
                    Rank::Rest => "rest",
                });
                println!("{}", serde_json::to_string(&words.iter().zip(ranks).collect::<Vec<_>>())?);
            }
        }
        "speed" => {
            speed("clip", &captions, |caption| clip.encode(caption).len());
            speed("bert", &captions, |caption| bert.encode(caption).len());
            speed("words", &captions, |caption| rank(&words(caption)).len());
            speed("clip with words", &captions, |caption| clip.encode_ranked(caption).0.len());
        }
        _ => return Err("name clip, bert, words or speed".into()),
    }
    Ok(())
}

fn speed(what: &str, captions: &[String], work: impl Fn(&str) -> usize) {
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        let found: usize = captions.iter().map(|caption| work(caption)).sum();
        std::hint::black_box(found);
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!("{what}: {:.0} captions a second", captions.len() as f64 / best);
}

/// Runs of letters, runs of digits, other marks one by one.
fn words(text: &str) -> Vec<&str> {
    let kind = |character: char| match character {
        _ if character.is_alphabetic() => 0,
        _ if character.is_numeric() => 1,
        _ => 2,
    };
    let mut words = Vec::new();
    let mut start = 0;
    let mut last = None;
    for (at, character) in text.char_indices() {
        if last.is_some_and(|last| last != kind(character) || last == 2) {
            words.push(&text[start..at]);
            start = at;
        }
        last = Some(kind(character));
    }
    words.push(&text[start..]);
    words.retain(|word| !word.trim().is_empty());
    words
}
