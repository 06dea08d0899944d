use counterfoil_spec::ids::AccountId;
use counterfoil_spec::payload::{AccountOpened, KeyCreated};

use super::*;

const ACCOUNT: AccountId = AccountId::from_bytes([0; 32]);

fn opened(country: Option<&str>) -> Payload {
    let country = country.map(|code| code.parse().unwrap());
    AccountOpened { account: ACCOUNT, metered: true, country }.into()
}

fn made(country: Option<&str>) -> Payload {
    let country = country.map(|code| code.parse().unwrap());
    let key_hash = Hash::from_bytes([0; 32]);
    KeyCreated { key_id: serial(70), account: ACCOUNT, key_hash, expires: None, scope: None, country }.into()
}

fn by_key() -> Payload {
    let Payload::Inference(mut inference) = inferred(vec![serial(60)], 10) else { panic!("an inference") };
    inference.key_id = Some(serial(70));
    inference.into()
}

/// The faults of a request under a consent for these countries, its inference after its work or before it.
fn asked(
    countries: &[&str],
    origin: [Payload; 2],
    inference: &Payload,
) -> [Vec<(FaultKind, Option<u64>)>; 2] {
    [6, 7].map(|work_at| {
        with(worked(|_| {}), |l| {
            l[3].2 = granted(|c| c.callers.countries = countries.iter().map(|c| (*c).to_owned()).collect());
            let work = l.remove(4);
            l.extend(origin.clone().map(|payload| (0, serial(96), payload)));
            l.push((3, serial(50), inference.clone()));
            l.insert(work_at, work);
        })
    })
}

//= spec/consent.md#callers
//= type=test
//# A caller's country is what the router's operator wrote down for its API key or, where the key has none, for its account, in `key-created` and `account-opened`.
#[test]
fn caller_whose_country_its_works_consent_does_not_allow() {
    let outside = [vec![(FaultKind::OverGrant, Some(7))], vec![(FaultKind::OverGrant, Some(6))]];
    let inside = [NONE.to_vec(), NONE.to_vec()];
    let (keyless, keyed) = (inferred(vec![serial(60)], 10), by_key());
    for (account, key, inference, from) in [
        (None, None, &keyless, None),
        (Some("DE"), None, &keyless, Some("DE")),
        (Some("DE"), Some("FR"), &keyless, Some("DE")),
        (None, None, &keyed, None),
        (Some("DE"), None, &keyed, Some("DE")),
        (None, Some("FR"), &keyed, Some("FR")),
        (Some("DE"), Some("FR"), &keyed, Some("FR")),
    ] {
        let log = |countries: &[&str]| asked(countries, [opened(account), made(key)], inference);
        assert_eq!(log(&[]), inside, "{account:?} {key:?}");
        assert_eq!(log(&["DE", "FR"]), if from.is_some() { inside.clone() } else { outside.clone() });
        assert_eq!(log(&["DE"]), if from == Some("DE") { inside.clone() } else { outside.clone() });
        assert_eq!(log(&["FR"]), if from == Some("FR") { inside.clone() } else { outside.clone() });
        assert_eq!(log(&["GB"]), outside);
    }
}
