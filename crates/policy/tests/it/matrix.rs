//! The recorded matrix: policy by persona by target.

use bessemer_policy::{DEFAULTS, Decision, Enforcer, Fact, Facts, Settings, Target};
use serde_json::Value;

fn matrix() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/matrix.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn fact(value: &Value) -> Fact {
    match value {
        Value::Null => Fact::None,
        Value::Bool(flag) => Fact::Bool(*flag),
        Value::String(text) => Fact::Text(text.clone()),
        Value::Array(items) => Fact::List(items.iter().map(fact).collect()),
        other => panic!("{other}"),
    }
}

fn facts(value: &Value) -> Facts {
    value
        .as_object()
        .unwrap()
        .iter()
        .fold(Facts::new(), |facts, (name, value)| {
            facts.with(name, fact(value))
        })
}

fn letter(decision: Decision) -> char {
    match decision {
        Decision::Allowed => 'y',
        Decision::Refused => 'n',
        Decision::WrongScope => 's',
        Decision::Undecided => '?',
    }
}

type Object<'a> = Vec<(&'a str, Option<&'a str>)>;

fn object<'a>(target: &'a Value, more: &'a Value) -> Object<'a> {
    [target, more]
        .into_iter()
        .filter_map(Value::as_object)
        .flatten()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

#[test]
fn the_table_is_upstreams() {
    let matrix = matrix();
    let theirs = matrix["defaults"].as_array().unwrap();
    assert_eq!(theirs.len(), DEFAULTS.len());
    assert_eq!(
        DEFAULTS
            .iter()
            .filter(|d| d.name.starts_with("baremetal:"))
            .count(),
        122
    );
    for (ours, theirs) in DEFAULTS.iter().zip(theirs) {
        assert_eq!(ours.name, theirs["name"]);
        assert_eq!(ours.check, theirs["check"], "{}", ours.name);
        let scopes: Vec<&str> = ours.scopes.iter().map(|s| s.as_str()).collect();
        assert_eq!(Value::from(scopes), theirs["scopes"], "{}", ours.name);
        let old = ours.deprecated.map_or(
            Value::Null,
            |old| serde_json::json!({"name": old.name, "check": old.check}),
        );
        assert_eq!(old, theirs["deprecated"], "{}", ours.name);
    }
}

#[test]
fn every_cell_of_the_defaults() {
    let matrix = matrix();
    let mut cells = 0usize;
    for new_defaults in [true, false] {
        let enforcer = Enforcer::load(Settings {
            enforce_new_defaults: new_defaults,
            ..Settings::default()
        })
        .unwrap();
        let rules = enforcer.rules();
        for row in matrix["decisions"].as_array().unwrap() {
            if row["new_defaults"] != new_defaults {
                continue;
            }
            let persona = row["persona"].as_str().unwrap();
            let elevated = if row["elevated"] == true {
                " elevated"
            } else {
                ""
            };
            let caller = facts(&matrix["credentials"][format!("{persona}{elevated}")]);
            let target = row["target"].as_str().unwrap();
            let object = object(&matrix["targets"][target], &Value::Null);
            let want = row["said"].as_str().unwrap();
            assert_eq!(want.len(), DEFAULTS.len());
            for (default, want) in DEFAULTS.iter().zip(want.chars()) {
                let said = rules.decide(default.name, &Target::of(&caller, &object), &caller);
                assert_eq!(
                    letter(said),
                    want,
                    "{} for {persona}{elevated}, target {target}, new defaults {new_defaults}",
                    default.name
                );
                // what is decided before the object is known stays so
                let early = rules.decide(default.name, &Target::unknown(&caller), &caller);
                if early != Decision::Undecided {
                    assert_eq!(early, said, "{} {persona} {target}", default.name);
                }
                cells += 1;
            }
        }
    }
    assert!(cells > 100_000, "{cells}");
}

#[test]
fn every_cell_of_the_operators_files() {
    let matrix = matrix();
    for (name, text) in matrix["files"].as_object().unwrap() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.yaml");
        std::fs::write(&path, text.as_str().unwrap()).unwrap();
        let enforcer = Enforcer::load(Settings {
            policy_file: path,
            file_expected: true,
            ..Settings::default()
        })
        .unwrap();
        let rules = enforcer.rules();
        let mut rows = 0;
        for row in matrix["file_decisions"].as_array().unwrap() {
            if row["file"] != *name {
                continue;
            }
            rows += 1;
            let persona = row["persona"].as_str().unwrap();
            let caller = facts(&matrix["credentials"][persona]);
            let target = row["target"].as_str().unwrap();
            let object = object(&matrix["targets"][target], &matrix["file_target"]);
            let asked = row["asked"].as_array().unwrap();
            for (rule, want) in asked.iter().zip(row["said"].as_str().unwrap().chars()) {
                let rule = rule.as_str().unwrap();
                let said = rules.decide(rule, &Target::of(&caller, &object), &caller);
                assert_eq!(
                    letter(said),
                    want,
                    "{name}: {rule} for {persona}, target {target}"
                );
            }
        }
        assert!(rows > 0, "{name}");
    }
}

#[test]
fn scopes_need_not_be_enforced() {
    let settings = Settings {
        enforce_scope: false,
        ..Settings::default()
    };
    let rules = Enforcer::load(settings).unwrap().rules();
    let caller = Facts::new()
        .with("roles", Fact::List(vec![Fact::Text("admin".into())]))
        .with("project_id", Fact::Text("p".into()));
    let said = rules.decide("baremetal:chassis:get", &Target::none(&caller), &caller);
    assert_eq!(said, Decision::Refused);
}
