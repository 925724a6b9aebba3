//! `data tokenize`.

use std::io::stdin;

use serde_json::json;
use shoestring_data::text::reduce;
use shoestring_data::{Stream, Tokenizer, read_line_bounded};

use super::failure;
use crate::cli::{Format, TokenizeArgs};
use crate::failure::{Exit, Failure};
use crate::output::Printer;

/// The longest caption of a file is a mebibyte.
const MAX_LINE_BYTES: u64 = 1 << 20;

pub(crate) fn tokenize(args: &TokenizeArgs, printer: Printer) -> Result<Exit, Failure> {
    let tokenizer = Tokenizer::named(args.tokenizer.into());
    let mut rows = Vec::new();
    let mut add = |caption: String, number: u64| -> Result<(), Failure> {
        let ids = match args.text_tokens {
            None => tokenizer.encode(&caption),
            Some(length) => {
                let mut ids = vec![0; length as usize];
                let mut stream = Stream::new(args.seed, "text", number);
                reduce(tokenizer, &caption, args.text_reduction.into(), &mut stream, &mut ids)
                    .map_err(failure)?;
                ids
            }
        };
        match args.format {
            Format::Text => printer.data(&ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" "))?,
            Format::Json => rows.push(json!({"caption": caption, "token_ids": ids})),
        }
        Ok(())
    };
    if args.captions.is_empty() {
        let mut input = stdin().lock();
        let mut line = Vec::new();
        for number in 0.. {
            let more = read_line_bounded(&mut input, MAX_LINE_BYTES, &mut line).map_err(|error| {
                Failure::new(Exit::Failure, anyhow::anyhow!("stdin:{}: {error}", number + 1))
                    .hint("captions stand one on a line".to_owned())
            })?;
            if !more {
                break;
            }
            let text = String::from_utf8(line.clone()).map_err(|_| {
                Failure::new(Exit::Failure, anyhow::anyhow!("stdin:{}: not UTF-8", number + 1))
                    .hint("captions are UTF-8 text, one a line".to_owned())
            })?;
            add(text.trim_end_matches(['\n', '\r']).to_owned(), number)?;
        }
    } else {
        for (number, caption) in (0..).zip(&args.captions) {
            add(caption.clone(), number)?;
        }
    }
    if args.format == Format::Json {
        let markers = tokenizer.markers();
        printer.json(&json!({
            "schema": "shoestring.data_tokenize", "version": 1,
            "vocabulary": tokenizer.vocabulary(), "start_token_id": markers.start, "end_token_id": markers.end,
            "text_tokens": args.text_tokens, "captions": rows,
        }))?;
    }
    Ok(Exit::Success)
}
