//! Quotas, leases and unsettled receipts over time.

use super::*;

fn begin(usage: &mut Usage, n: u8, now: Millis, max_tokens: u64) -> Result<(), Refusal> {
    let open = Open { serial: serial(n), issued: now, ..open() };
    let grant = Grant { max_tokens, deadline: now.plus(1000), ..grant() };
    let order = sign_open(open, grant, &router(), &net()).unwrap();
    let active = permit()
        .check_open(&order, &router().public(), &net(), now, usage)
        .map_err(|Refused { refusal, .. }| refusal)?;
    usage.begin(&active, now);
    Ok(())
}

#[test]
fn tokens_are_leased_by_256_and_given_back_at_the_end() {
    let (mut usage, now, quota) = (Usage::new(), NOW.millis(), claims().quota);
    begin(&mut usage, 1, now, 600).unwrap();
    assert_eq!(usage.tokens_in_day(now), 256);
    assert_eq!(usage.computed(&serial(1), 256, &quota), Ok(()));
    assert_eq!(usage.tokens_in_day(now), 256);
    assert_eq!(usage.computed(&serial(1), 257, &quota), Ok(()));
    assert_eq!(usage.tokens_in_day(now), 512);
    assert_eq!(usage.computed(&serial(1), 513, &quota), Ok(()));
    assert_eq!(usage.tokens_in_day(now), 600, "the grant's own limit");
    usage.end(&serial(1));
    assert_eq!((usage.tokens_in_day(now), usage.open_requests()), (513, 0));
}

#[test]
fn tokens_beyond_the_grant_or_the_day_are_refused() {
    let (mut usage, now, quota) = (Usage::new(), NOW.millis(), claims().quota);
    begin(&mut usage, 1, now, 600).unwrap();
    let of = |r: Result<(), Refused>| r.map_err(|r| r.refusal);
    assert_eq!(of(usage.computed(&serial(1), 601, &quota)), Err(Refusal::Quota));
    assert_eq!(of(usage.computed(&serial(2), 1, &quota)), Err(Refusal::Grant));
    usage.restore(NOW.0 / DAY, 10_000 - 256);
    assert_eq!(of(usage.computed(&serial(1), 256, &quota)), Ok(()));
    assert_eq!(of(usage.computed(&serial(1), 257, &quota)), Err(Refusal::Quota));
}

#[test]
fn day_of_a_request_is_the_day_in_which_it_opened() {
    let midnight = Seconds((NOW.0 / DAY + 1) * DAY);
    let before = Millis(midnight.millis().0 - 1);
    let (mut usage, quota) = (Usage::new(), claims().quota);
    begin(&mut usage, 1, before, 600).unwrap();
    usage.computed(&serial(1), 600, &quota).unwrap();
    assert_eq!((usage.tokens_in_day(before), usage.tokens_in_day(midnight.millis())), (600, 0));
}

#[test]
fn concurrent_requests_are_limited() {
    let (mut usage, now) = (Usage::new(), NOW.millis());
    assert_eq!(begin(&mut usage, 1, now, 1), Ok(()));
    assert_eq!(begin(&mut usage, 2, now, 1), Ok(()));
    assert_eq!(begin(&mut usage, 3, now, 1), Err(Refusal::Busy));
    usage.end(&serial(1));
    assert_eq!(begin(&mut usage, 3, now, 1), Ok(()));
}

#[test]
fn new_requests_of_one_second_are_limited() {
    let (mut usage, now) = (Usage::new(), NOW.millis());
    for n in 1..=3 {
        assert_eq!(begin(&mut usage, n, now, 1), Ok(()));
        usage.end(&serial(n));
    }
    assert_eq!(begin(&mut usage, 4, now.plus(999), 1), Err(Refusal::Busy));
    assert_eq!(begin(&mut usage, 4, now.plus(1000), 1), Ok(()));
}

#[test]
fn bytes_of_one_second_are_limited() {
    let (mut usage, quota, now) = (Usage::new(), claims().quota, NOW.millis());
    let mut moved = |bytes, at| usage.moved(bytes, &quota, at).map_err(|r| r.refusal);
    assert_eq!(moved(1_000_000, now), Ok(()));
    assert_eq!(moved(1, now.plus(999)), Err(Refusal::Quota));
    assert_eq!(moved(1, now.plus(1000)), Ok(()));
}

#[test]
fn router_that_owes_nine_receipts_gets_no_work() {
    let (mut usage, now) = (Usage::new(), NOW.millis());
    (10..18).for_each(|n| usage.receipt_sent(serial(n), now));
    assert_eq!(begin(&mut usage, 1, now, 1), Ok(()));
    usage.receipt_sent(serial(18), now);
    assert_eq!(begin(&mut usage, 2, now, 1), Err(Refusal::Unsettled));
    usage.receipt_settled(&serial(12));
    assert_eq!(begin(&mut usage, 2, now, 1), Ok(()));
}

#[test]
fn router_that_owes_one_receipt_for_over_ten_seconds_gets_no_work() {
    let (mut usage, now) = (Usage::new(), NOW.millis());
    usage.receipt_sent(serial(10), now);
    usage.receipt_sent(serial(10), now.plus(9000));
    assert_eq!(begin(&mut usage, 1, now.plus(10_000), 1), Ok(()));
    assert_eq!(begin(&mut usage, 2, now.plus(10_001), 1), Err(Refusal::Unsettled));
}

#[test]
fn orders_are_remembered_as_long_as_they_could_come_again() {
    let (mut usage, now) = (Usage::new(), NOW.millis());
    begin(&mut usage, 1, now, 1).unwrap();
    usage.end(&serial(1));
    assert_eq!(begin(&mut usage, 1, now.plus(120_000), 1), Err(Refusal::Replay));
    assert_eq!(begin(&mut usage, 2, now.plus(120_001), 1), Ok(()));
    usage.end(&serial(2));
    assert_eq!(
        begin(&mut usage, 1, now.plus(121_001), 1),
        Ok(()),
        "an order this old would be too old to be signed"
    );
}

#[test]
fn what_an_order_took_is_booked_before_it_is_used_and_settled_at_the_end() {
    let (mut usage, now, quota) = (Usage::new(), NOW.millis(), claims().quota);
    begin(&mut usage, 1, now, 600).unwrap();
    let booking = |leased, used| Booking {
        order: serial(1),
        cti: claims().cti,
        opened: now,
        leased,
        used,
        limited: true,
    };
    assert_eq!(usage.take_booked(), [booking(256, None)]);
    usage.computed(&serial(1), 256, &quota).unwrap();
    assert_eq!(usage.take_booked(), []);
    usage.computed(&serial(1), 300, &quota).unwrap();
    assert_eq!(usage.take_booked(), [booking(512, None)]);
    usage.end(&serial(1));
    usage.end(&serial(1));
    assert_eq!(usage.take_booked(), [booking(512, Some(300))]);
}

#[test]
fn an_order_that_is_remembered_is_not_taken_again_and_the_next_one_is() {
    let (mut usage, now) = (Usage::new(), NOW.millis());
    usage.remember(serial(1), Millis(now.0 - 1000));
    assert_eq!(begin(&mut usage, 1, now, 1), Err(Refusal::Replay));
    assert_eq!(begin(&mut usage, 2, now, 1), Ok(()));
}
