//! Clocks that step or differ, and caches.

use chrono::TimeDelta;
use halo_simulator::{ApiRequest, ApiResponse, Edit, Server};

use crate::{get, now, server_with_faults, token};

const STATUS: &str = "/api/status";

fn date(response: &ApiResponse) -> &str {
    response.header("date").expect("a date")
}

#[test]
fn clock_steps_back_and_forward() {
    let mut server = server_with_faults(5, &["status@2:skew=-3600", "status@3:skew=7200"]);
    let dates: Vec<_> = (0..3).map(|_| date(&get(&mut server, STATUS)).to_owned()).collect();
    assert_eq!(
        dates.iter().map(|date| &date[17..25]).collect::<Vec<_>>(),
        ["10:20:30", "09:20:30", "11:20:30"]
    );
}

#[test]
fn clock_stays_within_four_digits_of_years() {
    let mut server = server_with_faults(5, &["status:skew=250000000000"]);
    for _ in 0..100 {
        assert_eq!(date(&get(&mut server, STATUS)).len(), "Wed, 04 Mar 2026 10:20:30 GMT".len());
    }
    server.set_clock_offset(TimeDelta::MAX);
    assert_eq!(get(&mut server, STATUS).status, 200);
}

#[test]
fn two_nodes_have_different_clocks() {
    let mut server = server_with_faults(5, &["status@every2:clock=90"]);
    let dates: Vec<_> = (0..4).map(|_| date(&get(&mut server, STATUS)).to_owned()).collect();
    let times: Vec<_> = dates.iter().map(|date| &date[17..25]).collect();
    assert_eq!(times, ["10:20:30", "10:22:00", "10:20:30", "10:22:00"]);
}

#[test]
fn nodes_can_differ_by_connection() {
    let mut server = server_with_faults(5, &["any@conn2:clock=-90"]);
    let token = token(&mut server);
    let mut time_over = |connection| {
        let request = ApiRequest { connection, ..ApiRequest::get(STATUS, &token) };
        date(&server.respond(&request, now()))[17..25].to_owned()
    };
    let times: Vec<_> = [0, 1, 2, 3, 4].into_iter().map(&mut time_over).collect();
    assert_eq!(times, ["10:20:30", "10:20:30", "10:19:00", "10:20:30", "10:19:00"]);
}

#[test]
fn date_can_be_any_time() {
    let mut server = server_with_faults(5, &["status:date=9999-12-31T23:59:59Z"]);
    assert_eq!(date(&get(&mut server, STATUS)), "Fri, 31 Dec 9999 23:59:59 GMT");
}

#[test]
fn age_is_sent_with_an_earlier_date() {
    for (fault, age, time) in [("status:age=0", "0", "10:20:30"), ("status:age=120", "120", "10:18:30")] {
        let response = get(&mut server_with_faults(5, &[fault]), STATUS);
        assert_eq!((response.header("age"), &date(&response)[17..25]), (Some(age), time));
    }
}

#[test]
fn cached_response_is_as_old_as_its_age() {
    let mut server = server_with_faults(5, &["list:cache=60"]);
    let id = server.ids()[0];
    let token = token(&mut server);
    let ask = |server: &mut Server, target: &str, seconds| {
        server.respond(&ApiRequest::get(target, &token), now() + TimeDelta::seconds(seconds))
    };
    let list = "/api/tickets?count=5";
    let first = ask(&mut server, list, 0);
    server.edit(id, Edit::Summary("New".into()), now());
    let cached = ask(&mut server, list, 60);
    assert_eq!((first.header("age"), cached.header("age")), (None, Some("60")));
    assert_eq!((date(&cached), &cached.body), (date(&first), &first.body));
    for (target, seconds) in [("/api/tickets?count=6", 30), (list, 61)] {
        let current = ask(&mut server, target, seconds);
        assert!(current.header("age").is_none() && current.body != first.body, "{target}");
    }
}
