//! Files of operators: what is said of mistakes, what follows when they change, and bytes that are none.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use bessemer_policy::{Decision, Enforcer, Fact, Facts, Settings, Target, fuzz};
use proptest::prelude::*;

fn settings(directory: &Path) -> Settings {
    Settings {
        policy_file: directory.join("policy.yaml"),
        policy_dirs: vec![directory.join("policy.d"), directory.join("nosuch.d")],
        ..Settings::default()
    }
}

#[test]
fn mistakes_are_named_with_their_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("policy.yaml");
    let check = |text: &str, line: usize, want: &str| {
        std::fs::write(&path, text).unwrap();
        let why = match Enforcer::load(settings(directory.path())) {
            Ok(_) => panic!("accepted: {text}"),
            Err(error) => error.to_string(),
        };
        // where broken YAML is noticed is its parser's business
        let place = match line {
            0 => format!("{}:", path.display()),
            line => format!("{}:{line}: ", path.display()),
        };
        assert!(why.starts_with(&place), "{why}");
        assert!(why.contains(want), "{why}");
    };
    check("a: [", 0, "");
    check(
        "# comment\n\"a\": \"role:x\"\n\"b\": \"role:x and\"\n",
        3,
        "\"b\" cannot be used: it ends",
    );
    check("a: b: c\n", 0, "");
    check("- a\n", 1, "a policy file is a mapping");
    check("just text\n", 1, "a policy file is a mapping");
    check("a:\n", 1, "\"a\" has no value");
    check("a: ~\n", 1, "\"a\" has no value");
    check("a: true\n", 1, "is no check");
    check("a: {b: c}\n", 1, "a text, or a list of lists");
    check("a: [[[x]]]\n", 1, "a text, or a list of lists");
    check("a: !\n", 1, "tags");
    check("a: &x \"@\"\n", 1, "anchors");
    check("a: \"@\"\n---\nb: \"@\"\n", 2, "one document");
    check(
        "a: \"@\"\nb: \"!\"\na: \"!\"\n",
        3,
        "line 1 has a rule of the same name",
    );
    check(
        "a: \"rule:b\"\nb: \"not rule:a\"\n",
        1,
        "refers to itself through \"b\"",
    );
    check("a: \"rule:a\"\n", 1, "refers to itself");
    check(
        "admin_api: \"rule:is_admin\"\n",
        1,
        "refers to itself through \"is_admin\"",
    );
    let chain: String = (0..80)
        .map(|n| format!("r{n}: \"rule:r{}\"\n", n + 1))
        .collect();
    check(
        &format!("{chain}r80: \"@\"\n"),
        1,
        "a chain of more than 64 rules",
    );
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let directory = tempfile::tempdir().unwrap();
    assert!(Enforcer::load(settings(directory.path())).is_ok());
    let named = Settings {
        file_expected: true,
        ..settings(directory.path())
    };
    let why = Enforcer::load(named).err().unwrap().to_string();
    assert!(why.contains("policy.yaml cannot be read"), "{why}");
}

fn member() -> Facts {
    Facts::new().with("roles", Fact::List(vec![Fact::Text("member".into())]))
}

fn eventually(enforcer: &Enforcer, want: Decision) {
    let caller = member();
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let said =
            enforcer
                .rules()
                .decide("baremetal:conductor:get", &Target::none(&caller), &caller);
        if said == want {
            return;
        }
        assert!(Instant::now() < until, "still {said:?}");
        std::thread::yield_now();
    }
}

#[test]
fn changes_are_taken_over_when_they_can_be_used() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().join("policy.d");
    std::fs::create_dir(&dir).unwrap();
    let mut age = 100u64;
    let mut write = |path: &Path, text: &str| {
        // a file system whose clock is coarse must not hide a change from the test
        age -= 1;
        std::fs::write(path, text).unwrap();
        let at = SystemTime::now() - Duration::from_secs(age);
        std::fs::File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(at)
            .unwrap();
    };
    let file = directory.path().join("policy.yaml");
    let enforcer = Enforcer::load(settings(directory.path())).unwrap();
    eventually(&enforcer, Decision::Refused);
    write(&file, "\"baremetal:conductor:get\": \"role:member\"\n");
    eventually(&enforcer, Decision::Allowed);
    // directories go over the file, in the order of names; hidden files are none
    write(&dir.join("10.yaml"), "{\"baremetal:conductor:get\": \"!\"}");
    eventually(&enforcer, Decision::Refused);
    write(&dir.join("20.yaml"), "baremetal:conductor:get: \"@\"\n");
    write(&dir.join(".30.yaml"), "baremetal:conductor:get: \"!\"\n");
    eventually(&enforcer, Decision::Allowed);
    // a slip changes nothing
    write(&dir.join("20.yaml"), "baremetal:conductor:get: \"role\"\n");
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        let caller = member();
        let said =
            enforcer
                .rules()
                .decide("baremetal:conductor:get", &Target::none(&caller), &caller);
        assert_eq!(said, Decision::Allowed);
        std::thread::park_timeout(Duration::from_millis(100));
    }
    std::fs::remove_file(dir.join("20.yaml")).unwrap();
    eventually(&enforcer, Decision::Refused);
}

#[test]
fn steps_have_rules_only_when_the_operator_gives_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("policy.yaml");
    std::fs::write(
        &path,
        "\"baremetal:step:execute:deploy.erase_devices\": \"role:admin\"\n",
    )
    .unwrap();
    let rules = Enforcer::load(settings(directory.path())).unwrap().rules();
    assert!(rules.has("baremetal:step:execute:deploy.erase_devices"));
    assert!(!rules.has("baremetal:step:execute:deploy.erase_devices_metadata"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
        fuzz::check(&text);
        fuzz::file(&text);
    }

    #[test]
    fn words_of_the_language_in_any_order(words in proptest::collection::vec(
        prop_oneof![
            Just("and"), Just("or"), Just("not"), Just("("), Just(")"), Just("@"), Just("!"), Just("role:a"),
            Just("rule:b"), Just("True:%(x)s"), Just("'a':b"), Just("a.b:%(c)s%%"), Just("((role:x"), Just("y:z))"),
        ], 0..24)) {
        fuzz::check(&words.join(" "));
    }

    #[test]
    fn pieces_of_yaml_in_any_order(pieces in proptest::collection::vec(
        prop_oneof![
            Just("a: "), Just("\""), Just("\n"), Just("- "), Just("["), Just("]"), Just("{"), Just("}"), Just("&x "),
            Just("*x"), Just("!!str "), Just("---\n"), Just("? "), Just(": "), Just("|\n  "), Just("role:x"), Just("\t"),
            Just("# "), Just("'"), Just("%YAML 1.2\n"),
        ], 0..24)) {
        fuzz::file(&pieces.concat());
    }
}
