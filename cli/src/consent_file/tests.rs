//! Policies read from files.

use super::*;

fn flags() -> Flags {
    Flags { accept_notice: false, models: vec!["guide".to_owned()], concurrent: 2 }
}

#[test]
fn the_commented_default_is_the_policy_of_no_file() {
    let plain = parse("", &flags()).unwrap();
    assert_eq!(parse(COMMENTED, &flags()).unwrap(), plain);
    let want = Policy { models: vec!["guide".to_owned()], ..Policy::default() };
    assert_eq!(plain, want);
}

#[test]
fn every_key_of_the_commented_default_can_be_switched_on() {
    let on = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.contains(" = ") && !rest.starts_with(' ') => rest.to_owned(),
        _ => line.to_owned(),
    };
    let text: Vec<String> = COMMENTED.lines().map(on).collect();
    let policy = parse(&text.join("\n"), &flags()).unwrap();
    assert!(policy.accepted_notice && policy.ask);
    assert_eq!(policy.parts, [Part { layers: (0, 11), experts: (0, 63) }]);
    assert_eq!(policy.hours, Hours::parse(&["22:00-06:30".to_owned()], "+01:00").unwrap());
    assert_eq!((policy.countries, policy.retention_s), (vec!["DE".to_owned(), "FR".to_owned()], 0));
    let quota = policy.quota;
    assert_eq!((quota.tokens_per_day.0, quota.tokens_per_request.0), (2_000_000, 8192));
    assert_eq!((quota.concurrent, quota.requests_per_s, quota.bytes_per_s), (2, 5, 10_000_000));
    assert_eq!(policy.purposes.names(), ["chat", "code", "verification"]);
}

#[test]
fn what_is_half_written_or_gone_is_not_taken_up() {
    let missing = || Err(std::io::Error::from(std::io::ErrorKind::NotFound));
    let read = |text: &str| Ok(text.to_owned());
    let mut file = Followed::new(flags(), String::new());
    assert_eq!(file.look(missing()), None);
    assert_eq!(file.look(read("ask = tr")), None);
    assert_eq!(file.look(read("ask = true")), None);
    let asking = Policy { ask: true, ..parse("", &flags()).unwrap() };
    assert_eq!(file.look(read("ask = true")), Some(Ok(asking)));
    assert_eq!(file.look(read("ask = true")), None);
    // Some programs empty a file before they write it, or put another in its place.
    for half in [read(""), missing(), read("as")] {
        assert_eq!(file.look(half), None);
        assert_eq!(file.look(read("ask = true")), None);
    }
    assert_eq!(file.look(missing()), None);
    assert_eq!(file.look(missing()), None);
    assert_eq!(file.look(read("ask = 3")), None);
    assert!(matches!(file.look(read("ask = 3")), Some(Err(_))));
    assert_eq!(file.look(read("ask = 3")), None, "it is said once");
}

#[test]
fn the_file_has_the_last_word_on_the_notice() {
    let accepts =
        |text: &str, flag| parse(text, &Flags { accept_notice: flag, ..flags() }).unwrap().accepted_notice;
    assert_eq!([accepts("", true), accepts("", false)], [true, false]);
    assert_eq!(
        [accepts("accept_notice = false", true), accepts("accept_notice = true", false)],
        [false, true]
    );
}

#[test]
fn any_model_or_named_ones() {
    assert!(parse("models = \"any\"", &flags()).unwrap().any_model);
    let named = parse("models = [\"a\", \"b\"]", &flags()).unwrap();
    assert_eq!((named.models, named.any_model), (vec!["a".to_owned(), "b".to_owned()], false));
}

#[test]
fn what_is_wrong_is_said_with_its_line_and_what_to_write() {
    let said = |text: &str| parse(text, &flags()).unwrap_err();
    assert_eq!(said("\nmodels = \"all\""), "line 2, models: \"all\" is no list; write [\"all\"], or \"any\"");
    assert_eq!(
        said("ask = true\npurposes = [\"talk\"]"),
        "line 2, purposes: there is no purpose \"talk\"; write any of chat, code, embedding, evaluation, verification"
    );
    for (at, key) in ["hours", "parts", "callers"].iter().enumerate() {
        let text = format!("{}{key} = []", "\n".repeat(at));
        let want =
            format!("line {}, {key}: an empty list allows nothing; leave the key out to allow all", at + 1);
        assert_eq!(said(&text), want);
    }
    assert_eq!(
        said("parts = [{ layers = [0, 4], experts = [0, 7] }, { layers = [4, 5], experts = [7, 9] }]"),
        "line 1, parts: layers 0-4 with experts 0-7 and layers 4-5 with experts 7-9 overlap; an expert belongs to one part"
    );
    assert_eq!(
        said("callers = [\"de\"]"),
        "line 1, callers: \"de\" is no country; write two capital letters, such as \"DE\""
    );
    assert_eq!(
        said("hours = [\"22-6\"]\nutc_offset = \"UTC\""),
        "line 1, hours: \"22-6\" is no window of hours; write one as \"22:00-06:30\""
    );
    assert_eq!(
        said("hours = [\"22:00-06:00\"]"),
        "line 1, hours: say which hours these are: utc_offset = \"+01:00\", or \"UTC\""
    );
    assert_eq!(said("life_hours = 721"), "line 1, life_hours: a consent token lives from 1 to 720 hours");
    let unknown = said("ask = true\nconcurent = 3");
    assert!(unknown.contains("line 2") && unknown.contains("concurent") && unknown.contains("concurrent"));
}
