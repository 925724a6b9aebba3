//! Rows put together by what one asks for.

use std::collections::BTreeMap;

use chrono::{DateTime, FixedOffset, Utc};
use shoestring_planner::units::Usd;

use crate::kind::Kind;
use crate::row::Row;

/// What rows are put together by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Run.
    Run,
    /// Stage.
    Stage,
    /// Day, in a time zone.
    Day(FixedOffset),
    /// Kind of row.
    Kind,
    /// What the money was for.
    Purpose,
}

/// Rows of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The run, stage, day, kind or purpose; `-` for none.
    pub name: String,
    /// Rows in it.
    pub rows: u64,
    /// What they charged (`spend`, `settle`, `import`, `adjust`).
    pub charged: Usd,
    /// What they set aside; a settlement gives it back, so this is no balance.
    pub reserved: Usd,
    /// Rows whose amount is unknown: not part of `charged`, and not nothing.
    pub unknown: u64,
    /// Seconds that the charges paid for, as far as they are known.
    pub seconds: f64,
}

/// All rows by `by`, by name (days in their order).
#[must_use]
pub fn grouped<'a>(rows: impl IntoIterator<Item = &'a Row>, by: By) -> Vec<Group> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for row in rows {
        let name = match by {
            By::Run => row.run.clone(),
            By::Stage => row.stage.clone(),
            By::Day(zone) => row.time.with_timezone(&zone).format("%Y-%m-%d").to_string(),
            By::Kind => row.kind.name().to_owned(),
            By::Purpose => row.purpose.name().to_owned(),
        };
        let name = if name.is_empty() { "-".to_owned() } else { name };
        let group = groups.entry(name.clone()).or_insert_with(|| Group {
            name,
            rows: 0,
            charged: Usd::ZERO,
            reserved: Usd::ZERO,
            unknown: 0,
            seconds: 0.0,
        });
        group.rows += 1;
        match row.amount {
            None => group.unknown += 1,
            Some(amount) if row.kind.is_charge() => {
                group.charged += amount;
                group.seconds += row.seconds.unwrap_or_default();
            }
            Some(amount) if row.kind == Kind::Reserve => group.reserved += amount,
            Some(_) => {}
        }
    }
    groups.into_values().collect()
}

/// When the time of day went back from one row to the next by more than a minute: `seq` of the later row, and by
/// how many seconds. Money is counted by another clock, so this is for people only.
#[must_use]
pub fn clock_set_back(rows: &[Row]) -> Vec<(u64, i64)> {
    let back = |earlier: DateTime<Utc>, later: DateTime<Utc>| (earlier - later).num_seconds();
    rows.windows(2)
        .map(|pair| (pair[1].seq, back(pair[0].time, pair[1].time)))
        .filter(|(_, seconds)| *seconds > 60)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Draft, tests::draft};

    #[test]
    fn days_follow_the_time_zone_and_unknown_amounts_are_counted_apart() {
        let at = |hour: i64, kind, amount: Option<i64>| {
            let time = DateTime::from_timestamp(1_767_225_600 + 3600 * hour, 0).expect("in range");
            let draft = Draft { time, kind, amount: amount.map(Usd::from_micros), ..draft() };
            Row::place(draft, 0, "").expect("has a JSON form").0
        };
        let rows = [
            at(22, Kind::Settle, Some(10)),
            at(23, Kind::Reserve, Some(7)),
            at(25, Kind::Import, None),
            at(26, Kind::Adjust, Some(-4)),
        ];
        let days = |east: i32| {
            let zone = FixedOffset::east_opt(3600 * east).expect("in range");
            grouped(&rows, By::Day(zone))
                .into_iter()
                .map(|group| (group.name, group.rows))
                .collect::<Vec<_>>()
        };
        assert_eq!(days(0), [("2026-01-01".to_owned(), 2), ("2026-01-02".to_owned(), 2)]);
        assert_eq!(days(5), [("2026-01-02".to_owned(), 4)]);
        assert_eq!(days(-3), [("2026-01-01".to_owned(), 4)]);
        let all = grouped(&rows, By::Run);
        assert_eq!((all.len(), all[0].charged.micros(), all[0].reserved.micros()), (1, 6, 7));
        assert_eq!(all[0].unknown, 1);
        assert_eq!(clock_set_back(&[rows[2].clone(), rows[0].clone()]), [(0, 3 * 3600)]);
    }
}
