//! Prices from outside: every live source from a recorded-shape file on a loopback server, and every way in which
//! it can fail. Nothing here reaches beyond 127.0.0.1.

mod server;

use std::fs;

use self::server::{Reply, Server, stored_zip};
use crate::harness::{Said, Sandbox};

const SKYPILOT: &str = include_str!("../planner/src/prices/fixtures/skypilot_nebius.csv");
const GPUHUNT: &str = include_str!("../planner/src/prices/fixtures/gpuhunt.csv");
const AZURE_1: &str = include_str!("../planner/src/prices/fixtures/azure_1.json");
const AZURE_2: &str = include_str!("../planner/src/prices/fixtures/azure_2.json");
const AWS: &str = include_str!("../planner/src/prices/fixtures/aws.csv");
const ADVISOR: &str = include_str!("../planner/src/prices/fixtures/spot_advisor.json");
const NO_ITEMS: &str = r#"{"BillingCurrency":"USD","Items":[],"NextPageLink":null,"Count":0}"#;

/// A source as the program is told of it, and what its server answers.
struct Source {
    name: &'static str,
    arguments: &'static [&'static str],
    /// The feed and how many offers the recorded shape holds.
    feed: &'static str,
    offers: u64,
    /// Texts that make prices nothing, and one that makes the form another.
    prices: &'static [&'static str],
    nothing: &'static [&'static str],
    column: (&'static str, &'static str),
}

const SOURCES: [Source; 5] = [
    Source {
        name: "skypilot",
        arguments: &["--cloud", "nebius"],
        feed: "skypilot/nebius",
        offers: 1,
        prices: &["23.60", "10.00"],
        nothing: &["0.00", "0.01"],
        column: ("AcceleratorName", "Accelerators"),
    },
    Source {
        name: "gpuhunt",
        arguments: &["--cloud", "gcp"],
        feed: "gpuhunt/gcp",
        offers: 2,
        prices: &["40.5504", "22.0764", ",20.0,", ",9.6,"],
        nothing: &["0", "0.0", ",,", ",-1,"],
        column: ("gpu_name", "gpu"),
    },
    Source {
        name: "azure",
        arguments: &[],
        feed: "azure",
        offers: 2,
        prices: &["\"retailPrice\":98.32", "\"retailPrice\":28.99"],
        nothing: &["\"retailPrice\":0.0", "\"retailPrice\":0"],
        column: ("retailPrice", "price"),
    },
    Source {
        name: "aws",
        arguments: &["--region", "us-east-1"],
        feed: "aws/us-east-1",
        offers: 2,
        prices: &["55.0400000000", "1.6240000000"],
        nothing: &["0.0000000000", "0.0000000000"],
        column: ("PricePerUnit", "Price"),
    },
    Source {
        name: "aws-spot",
        arguments: &[],
        feed: "aws-spot",
        offers: 2,
        prices: &["\"s\":66", "\"s\":40"],
        nothing: &["\"s\":100", "\"s\":100"],
        column: ("spot_advisor", "advisor"),
    },
];

impl Source {
    /// The recorded shape, changed by `change`, at the paths where the real source has it.
    fn answers(&self, path: &str, change: &dyn Fn(&str) -> String) -> Option<Vec<u8>> {
        Some(match (self.name, path) {
            ("skypilot", "/nebius/vms.csv") => change(SKYPILOT).into_bytes(),
            ("gpuhunt", "/gcp/version") => b"20260819-123\n".to_vec(),
            ("gpuhunt", "/gcp/20260819-123/catalog.zip") => stored_zip("gcp.csv", change(GPUHUNT).as_bytes()),
            ("azure", _) if path.contains("skip=1000") => change(AZURE_2).into_bytes(),
            ("azure", _) if path.contains("Standard_ND96isr_H100_v5") => change(AZURE_1).into_bytes(),
            ("azure", _) => NO_ITEMS.into(),
            ("aws", "/us-east-1/index.csv") => change(AWS).into_bytes(),
            ("aws-spot", "/") => change(ADVISOR).into_bytes(),
            _ => return None,
        })
    }

    fn serve(&'static self) -> Server {
        Server::start(move |path, _| {
            self.answers(path, &str::to_owned).map_or(Reply::Status(404), Reply::Body)
        })
    }

    fn update(&self, sandbox: &Sandbox, url: &str, more: &[&str]) -> Said {
        let url = format!("{}={url}", self.name);
        let mut arguments = vec!["prices", "update", "--source", self.name, "--url", &url];
        arguments.extend(self.arguments);
        arguments.extend(["--cache", "cache", "--tries", "2", "--pause", "1ms", "--timeout", "300ms"]);
        arguments.extend(more);
        sandbox.run(&arguments)
    }
}

#[test]
fn every_source_is_read_from_its_recorded_shape_and_planned_with() {
    for source in &SOURCES {
        let (sandbox, server) = (Sandbox::new(), source.serve());
        let said = source.update(&sandbox, &server.url, &["--format", "json"]);
        assert_eq!(said.code, 0, "{}\n{}", source.name, said.snapshot());
        let json = said.json();
        assert_eq!(json["schema"], "shoestring.prices_update");
        assert_eq!(
            (&json["feeds"][0]["feed"], &json["feeds"][0]["offers"]),
            (&source.feed.into(), &source.offers.into())
        );
        let listed = sandbox.ok(&["prices", "list", "--prices", "prices.csv", "--format", "json"]).json();
        let offers = listed["offers"].as_array().expect("offers");
        assert_eq!(offers.len() as u64, source.offers, "{}", source.name);
        for offer in offers {
            assert_eq!(offer["feed"], source.feed);
            let source = offer["source"].as_str().expect("a source");
            assert!(source.starts_with("http://127.0.0.1:"), "{source}");
        }
        let spot = source.name == "aws-spot";
        assert_eq!(offers.iter().any(|offer| offer["interrupted_percent_per_month"].is_u64()), spot);
    }
}

#[test]
fn a_fault_of_any_source_leaves_the_last_good_prices_byte_for_byte() {
    let mut table = String::from("| source | fault | exit code | message |\n|---|---|---|---|\n");
    for source in &SOURCES {
        let sandbox = Sandbox::new();
        assert_eq!(source.update(&sandbox, &source.serve().url, &[]).code, 0);
        let good = fs::read(sandbox.path("prices.csv")).expect("the table");
        let unchanged = |text: &str| text.to_owned();
        let free = |text: &str| {
            source
                .prices
                .iter()
                .zip(source.nothing)
                .fold(text.to_owned(), |text, (price, nothing)| text.replace(price, nothing))
        };
        let renamed = |text: &str| text.replace(source.column.0, source.column.1);
        type Change<'a> = &'a (dyn Fn(&str) -> String + Sync);
        type Wrap = fn(Vec<u8>) -> Reply;
        let faults: [(&str, Change<'_>, Wrap, &[&str]); 6] = [
            ("404", &unchanged, |_| Reply::Status(404), &["answered 404 (1 try)"]),
            ("500", &unchanged, |_| Reply::Status(500), &["answered 500 (2 tries)"]),
            ("time-out", &unchanged, |_| Reply::Silence, &["no answer within 300ms (2 tries)"]),
            ("truncated", &unchanged, Reply::Cut, &["the answer broke off", "(2 tries)"]),
            ("wrong columns", &renamed, Reply::Body, &[source.column.0]),
            ("zero prices", &free, Reply::Body, &["no offer in it: "]),
        ];
        for (fault, change, wrap, words) in faults {
            let texts = PreparedAnswers::of(source, change);
            let server = Server::start(move |path, _| texts.get(path).map_or(Reply::Status(404), wrap));
            let said = source.update(&sandbox, &server.url, &[]);
            assert_eq!(said.code, 1, "{} {fault}\n{}", source.name, said.snapshot());
            for word in words {
                assert!(
                    said.stderr.contains(word),
                    "{} {fault}: no `{word}` in\n{}",
                    source.name,
                    said.snapshot()
                );
            }
            assert!(said.stderr.contains(&format!("error: {}: ", source.feed)), "{}", said.snapshot());
            assert!(said.stderr.contains("hint: "), "{}", said.snapshot());
            assert!(
                said.stdout.contains("days old stay") && said.stdout.contains("not touched"),
                "{}",
                said.stdout
            );
            let now = fs::read(sandbox.path("prices.csv")).expect("the table");
            assert!(now == good, "{} {fault}: the table changed", source.name);
            let error = said.stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
            let error = error.replace(&server.url, "http://127.0.0.1:PORT");
            table.push_str(&format!("| {} | {fault} | {} | {error} |\n", source.name, said.code));
        }
    }
    insta::assert_snapshot!("price_faults", table);
}

/// What a source's server answers after a change, made before the server starts.
struct PreparedAnswers(&'static Source, Vec<(&'static str, String)>);

impl PreparedAnswers {
    fn of(source: &'static Source, change: &dyn Fn(&str) -> String) -> Self {
        let texts = [SKYPILOT, GPUHUNT, AZURE_1, AZURE_2, AWS, ADVISOR];
        Self(source, texts.into_iter().map(|text| (text, change(text))).collect())
    }

    fn get(&self, path: &str) -> Option<Vec<u8>> {
        let change = |text: &str| {
            self.1
                .iter()
                .find(|(before, _)| *before == text)
                .map_or(String::new(), |(_, after)| after.clone())
        };
        self.0.answers(path, &change)
    }
}

#[test]
fn azures_other_machine_types_are_new_where_one_fails_and_its_rows_stay() {
    const OTHER: &str = "Standard_NC24ads_A100_v4";
    let sandbox = Sandbox::new();
    let serve = |fails: bool| {
        Server::start(move |path, _| match path {
            _ if path.contains("skip=1000") => Reply::Body(AZURE_2.into()),
            _ if path.contains("Standard_ND96isr_H100_v5") && fails => Reply::Status(500),
            _ if path.contains("Standard_ND96isr_H100_v5") => Reply::Body(AZURE_1.into()),
            // The same prices for the other type, one accelerator of it.
            _ if path.contains(OTHER) => {
                let text = AZURE_1.replace("Standard_ND96isr_H100_v5", OTHER);
                let text = text.replace("98.32", "4.50").replace("28.99", "1.50");
                let last = text.replace("\"NextPageLink\"", "\"Link\"");
                Reply::Body(last.into())
            }
            _ => Reply::Body(NO_ITEMS.into()),
        })
    };
    let azure = SOURCES.iter().find(|source| source.name == "azure").expect("azure");
    let names = || {
        let table = fs::read_to_string(sandbox.path("prices.csv")).expect("the table");
        let has = |name: &str| table.lines().filter(|line| line.contains(name)).count();
        (has("Standard_ND96isr_H100_v5,"), has(&format!("{OTHER},")))
    };
    assert_eq!(azure.update(&sandbox, &serve(false).url, &[]).code, 0);
    let before = names();
    assert!(before.0 > 0 && before.1 > 0, "{before:?}");
    let said = azure.update(&sandbox, &serve(true).url, &["--format", "json"]);
    assert_eq!(said.code, 5, "{}", said.snapshot());
    assert_eq!(names(), before, "the rows of the type that failed stay");
    let feed = &said.json()["feeds"][0];
    assert_eq!(
        (&feed["ok"], &feed["not_answered"][0]["instance_type"]),
        (&true.into(), &"Standard_ND96isr_H100_v5".into())
    );
    assert!(said.stderr.contains("error: azure: Standard_ND96isr_H100_v5: "), "{}", said.stderr);
}

#[test]
fn where_some_feeds_answer_their_rows_are_new_and_the_others_stay() {
    let sandbox = Sandbox::new();
    let lambda = SKYPILOT.replace("eu-north1", "us-east-1");
    let both = {
        let lambda = lambda.clone();
        Server::start(move |path, _| match path {
            "/nebius/vms.csv" => Reply::Body(SKYPILOT.into()),
            "/lambda/vms.csv" => Reply::Body(lambda.clone().into()),
            _ => Reply::Status(404),
        })
    };
    let update = |url: &str| {
        let url = format!("skypilot={url}");
        sandbox.run(&[
            "prices",
            "update",
            "--cloud",
            "nebius,lambda",
            "--url",
            &url,
            "--cache",
            "c",
            "--tries",
            "1",
        ])
    };
    assert_eq!(update(&both.url).code, 0);
    let before = fs::read_to_string(sandbox.path("prices.csv")).expect("a table");
    let dearer = Server::start(move |path, _| match path {
        "/nebius/vms.csv" => Reply::Body(SKYPILOT.replace("23.60", "25.60").into()),
        _ => Reply::Status(503),
    });
    let said = update(&dearer.url);
    assert_eq!(said.code, 5, "{}", said.snapshot());
    assert!(
        said.stderr.contains("1 of 2 feeds failed: skypilot/lambda; their last good prices stay"),
        "{}",
        said.stderr
    );
    let after = fs::read_to_string(sandbox.path("prices.csv")).expect("a table");
    let line = |text: &str, provider: &str| {
        text.lines().find(|line| line.starts_with(provider)).map(str::to_owned).expect("a row")
    };
    assert_eq!(line(&before, "lambda,"), line(&after, "lambda,"));
    assert!(line(&after, "nebius,").contains(",25.6,"), "{after}");
    assert!(!after.contains(".tmp") && fs::read_dir(sandbox.path("")).expect("folder").count() == 1);
}

#[test]
fn what_did_not_change_is_not_sent_again() {
    let sandbox = Sandbox::new();
    let server = Server::start(|_, etag| match etag {
        Some("\"v1\"") => Reply::Status(304),
        _ => Reply::Tagged("\"v1\"", SKYPILOT.into()),
    });
    let source = &SOURCES[0];
    assert_eq!(source.update(&sandbox, &server.url, &[]).code, 0);
    let first = fs::read(sandbox.path("prices.csv")).expect("a table");
    let said = source.update(&sandbox, &server.url, &[]);
    assert_eq!(said.code, 0, "{}", said.snapshot());
    assert!(said.stdout.contains("unchanged since last time"), "{}", said.stdout);
    assert_eq!(fs::read(sandbox.path("prices.csv")).expect("a table"), first);
    assert_eq!(server.served(), 2);
}

#[test]
fn refused_rows_are_counted_and_listed() {
    let sandbox = Sandbox::new();
    let vast = include_str!("../planner/src/prices/fixtures/skypilot_vast.csv");
    let server = Server::start(move |_, _| Reply::Body(vast.into()));
    let url = format!("skypilot={}", server.url);
    let update = ["prices", "update", "--cloud", "vast", "--url", &url, "--cache", "c"];
    let said = sandbox.ok(&update);
    assert!(
        said.stderr.contains("skypilot/vast: refused 2: on_demand_usd_per_hour of at most a cent"),
        "{}",
        said.stderr
    );
    let said = sandbox.ok(&[&update[..], &["--refused"]].concat());
    let row = "skypilot/vast: line 6 vast/1x-H100_SXM-64/Florida, US, NA: on_demand_usd_per_hour = 900: 900.00 USD per";
    assert!(said.stderr.contains(row), "{}", said.stderr);
}

#[test]
fn wrong_usage_of_update_is_refused_before_anything_is_asked() {
    let sandbox = Sandbox::new();
    for (arguments, words) in [
        (&["--cloud", "awss"][..], &["no cloud is called `awss`", "aws"][..]),
        (&["--url", "skypilot=ftp://x"], &["does not begin with http"]),
        (&["--url", "http://x"], &["invalid"]),
        (&["--url", "azure=http://127.0.0.1:1"], &["the source is not asked", "--source"]),
        (&["--source", "amazon"], &["amazon", "skypilot"]),
        (&["--source", "aws", "--region", "../x"], &["not the name of a region"]),
        (&["--timeout", "0s"], &["zero is too short"]),
    ] {
        let said = sandbox.run(&[&["prices", "update"][..], arguments].concat());
        assert_eq!(said.code, 2, "{arguments:?}\n{}", said.snapshot());
        for word in words {
            assert!(said.stderr.contains(word), "no `{word}` in\n{}", said.snapshot());
        }
    }
    sandbox.write("prices.csv", "provider,region\nx\n");
    let said = sandbox.run(&["prices", "update", "--url", "skypilot=http://127.0.0.1:1"]);
    assert_eq!(said.code, 2, "{}", said.snapshot());
    assert!(said.stderr.contains("prices.csv: line 2: "), "{}", said.stderr);
}

#[test]
fn list_filters_sorts_and_prints_in_three_forms() {
    let sandbox = Sandbox::new();
    let json = sandbox
        .ok(&["prices", "list", "--gpu", "H100", "--min-gpus", "8", "--sort", "gpu-hour", "--format", "json"])
        .json();
    let prices: Vec<f64> = json["offers"]
        .as_array()
        .expect("offers")
        .iter()
        .map(|offer| offer["usd_per_gpu_hour"].as_f64().expect("a price"))
        .collect();
    assert!(prices.len() > 10 && prices.is_sorted(), "{prices:?}");
    assert!(json["assumption"].as_str().expect("words").contains("ViT-H-14-CLIPA"));
    let text = sandbox.ok(&["prices", "list", "--provider", "aws", "--spot"]).stdout;
    assert!(text.contains("aws/p5.48xlarge/us-west-2") && text.contains(" d\n"), "{text}");
    assert!(text.contains("delivered: at the planner's median speed"), "{text}");
    let csv = sandbox.ok(&["prices", "list", "--provider", "aws", "--format", "csv"]).stdout;
    sandbox.write("aws.csv", &csv);
    let again = sandbox.ok(&["prices", "list", "--prices", "aws.csv", "--format", "csv"]).stdout;
    assert_eq!(again, csv, "what is printed can be read");
    assert_eq!(sandbox.ok(&["plan", "--budget", "1000", "--prices", "aws.csv"]).code, 0);
}

#[test]
fn the_filter_that_removed_the_last_offer_is_named() {
    let sandbox = Sandbox::new();
    for (arguments, words) in [
        (
            &["--gpu", "H100", "--region", "us-est-1"][..],
            &["`--region us-est-1` removes the last", "us-east-1"][..],
        ),
        (&["--max-price", "0.01"], &["`--max-price 0.01` removes the last", "the cheapest left costs"]),
        (&["--min-gpus", "512"], &["`--min-gpus 512` removes the last", "the largest machine left has"]),
        (&["--provider", "awz"], &["`--provider awz` removes the last", "aws"]),
    ] {
        let said = sandbox.run(&[&["prices", "list"][..], arguments].concat());
        assert_eq!((said.code, said.stdout.as_str()), (3, ""), "{arguments:?}\n{}", said.snapshot());
        for word in words {
            assert!(said.stderr.contains(word), "no `{word}` in\n{}", said.snapshot());
        }
    }
    assert_eq!(sandbox.run(&["prices", "list", "--gpu", "H1000"]).code, 2);
}

#[test]
fn ones_own_contract_is_imported_and_wins() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "own.toml",
        "[[offer]]\nprovider = \"aws\"\nregion = \"us-east-1\"\ninstance_type = \"p5.48xlarge\"\n\
         accelerator = \"H100\"\ncount = 8\non_demand_usd_per_hour = 19.2\n",
    );
    let csv = sandbox.ok(&["prices", "list", "--provider", "aws", "--format", "csv"]).stdout;
    sandbox.write("prices.csv", &csv);
    let said = sandbox.ok(&["prices", "import", "own.toml"]);
    assert!(said.stdout.contains("1 offers imported (1 new, 0 replaced)"), "{}", said.stdout);
    let said = sandbox.ok(&["prices", "import", "own.toml", "--format", "json"]);
    assert_eq!(said.json()["replaced"], 1);
    let diff = sandbox.ok(&["prices", "diff", "built-in", "prices.csv", "--format", "json"]).json();
    let changed = diff["changed"].as_array().expect("changes");
    assert_eq!(changed.len(), 1, "{diff:#}");
    assert_eq!(changed[0]["offer"], "aws/p5.48xlarge/us-east-1");
    let percent = changed[0]["change_percent"].as_f64().expect("per cent");
    assert!((percent - 100.0 * (19.2 / 55.04 - 1.0)).abs() < 1e-9, "{percent}");
    assert!(diff["gone"].as_array().expect("gone").len() > 100);
    let text = sandbox.ok(&["prices", "diff", "prices.csv", "prices.csv"]).stdout;
    assert!(text.starts_with("0 prices changed, 0 offers added, 0 gone"), "{text}");
}

#[test]
fn a_contract_that_is_not_understood_changes_nothing() {
    let sandbox = Sandbox::new();
    sandbox
        .write("prices.csv", sandbox.ok(&["prices", "list", "--provider", "aws", "--format", "csv"]).stdout);
    let good = fs::read(sandbox.path("prices.csv")).expect("a table");
    for (name, text, words) in [
        (
            "euro.csv",
            "provider,instance_type,accelerator,count,on_demand_usd_per_hour,currency\nacme,a,H100,8,16,USD\nacme,b,H100,8,16,EUR\n",
            &["euro.csv: line 3: currency = `EUR`: is not USD", "hint: convert"][..],
        ),
        (
            "month.json",
            "[\n {\"provider\": \"acme\", \"instance_type\": \"a\", \"accelerator\": \"H100\",\n  \"count\": 8, \"on_demand_usd_per_hour\": 11680}\n]",
            &[
                "month.json: line 3: on_demand_usd_per_hour = `11680`: 1,460.00 USD per H100-SXM",
                "hint: prices are US dollars per hour",
                "--any-price",
            ],
        ),
        (
            "unit.toml",
            "[[offer]]\nprovider = \"acme\"\ninstance_type = \"a\"\naccelerator = \"H100\"\ncount = 8\non_demand_usd_per_hour = 2.0\nunit = \"gpu_hour\"\n",
            &["unit.toml: line 7: unit = `gpu_hour`: is not `hour`", "hint: multiply"],
        ),
        ("list.txt", "", &["list.txt: the ending `txt`", ".csv, .json or .toml"]),
    ] {
        sandbox.write(name, text);
        let said = sandbox.run(&["prices", "import", name]);
        assert_eq!((said.code, said.stdout.as_str()), (2, ""), "{name}\n{}", said.snapshot());
        for word in words {
            assert!(said.stderr.contains(word), "no `{word}` in\n{}", said.snapshot());
        }
        assert_eq!(fs::read(sandbox.path("prices.csv")).expect("a table"), good, "{name}");
    }
    assert_eq!(sandbox.run(&["prices", "import", "none.csv"]).code, 1);
}
