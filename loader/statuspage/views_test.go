package statuspage_test

import (
	"fmt"
	"math"
	"time"

	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/status"
	"github.com/candu-loader/candu-loader/loader/statuspage"
)

var now = time.Date(2026, 1, 31, 9, 2, 30, 0, time.UTC)

func at(clock string) time.Time {
	t, err := time.Parse("15:04", clock)
	if err != nil {
		panic(err)
	}
	return time.Date(2026, 1, 31, t.Hour(), t.Minute(), 0, 0, time.UTC)
}

func view(sources ...statuspage.Source) statuspage.View {
	for i := range sources {
		sources[i].Sentence = status.Sentence(&sources[i].Source, now)
	}
	return statuspage.View{At: now, Version: "v1.4.0", Sources: sources}
}

func emptyView() statuspage.View {
	return view(
		statuspage.Source{Source: status.Source{Nickname: "Candu_Prod", Schema: "candu", State: status.New, Schedule: "0 * * * *", Timezone: "UTC", NextSlot: new(at("10:00"))}},
		statuspage.Source{Source: status.Source{Nickname: "Candu_Staging", Schema: "candu_staging", State: status.New, Timezone: "UTC"}},
	)
}

func failingView() statuspage.View {
	s := fresh("Candu_Prod", 1)
	const text = `ERROR: permission denied for table interactions (SQLSTATE 42501) at postgres://reader@db-1.internal:5432/candu`
	s.State, s.CompleteUntil, s.WatermarkAt, s.WaitingRows = status.Failing, new(at("06:59")), new(at("06:58")), new(int64(48_213))
	s.CaughtUpAt, s.LagSeconds = new(at("06:59")), new(7_410.0)
	s.RetryAt = new(at("09:05"))
	s.Failure = &status.Failure{Error: text, Hint: `Let the reader read: GRANT SELECT ON public.interactions TO candu_reader;`, Since: at("07:02")}
	for i := range 3 {
		s.LastRuns[i].Status, s.LastRuns[i].Error, s.LastRuns[i].Sent, s.LastRuns[i].EventsPerSecond = "failed", text, 0, 0
		s.Slots[i].RunStatus = "failed"
	}
	s.LastRuns[1].Error += ". " + text + ". " + text
	s.LastRuns[5].Status, s.LastRuns[5].Error = "interrupted", "SIGTERM"
	s.Slots[5].RunStatus = "interrupted"
	s.Slots[9] = ledger.Slot{At: s.Slots[9].At, Status: "missed", Note: "serve was not running"}
	s.Slots[12] = ledger.Slot{At: s.Slots[12].At, Status: "skipped_overlap", Note: "run #380 was not over"}
	s.Slots[15].Status = "caught_up"
	s.Rejects = rejects()
	s.Proof = &status.Proof{
		Proof:    ledger.Proof{Verdict: ledger.NotProved, CheckedAt: new(at("03:00")), Differences: map[string]int64{"missing": 3}},
		Sentence: "NOT proved: 3 missing, checked 6 hours ago; last proved 1 day ago",
	}
	late := fresh("Candu_EU", 4)
	late.State, late.CompleteUntil, late.WaitingRows = status.Late, new(at("04:30")), new(int64(12_345))
	late.CaughtUpAt, late.LagSeconds, late.HeldBackBy = new(at("06:59")), new(7_410.0), "a transaction that began then was still open in the export's database"
	late.Proof = &status.Proof{Proof: ledger.Proof{Verdict: ledger.Proved}, Sentence: "proved up to 02:58, checked 6 hours ago"}
	late.DaysAsOf = new(at("08:40"))
	v := view(fresh("Candu_US", 2), late, s)
	v.Trouble = []status.Failure{{Error: "config.yaml was changed and refused: sources[1].schedule: expected 5 fields, got 4", Hint: "candu-loader check --config config.yaml", Since: at("08:47")}}
	return v
}

func twentyView() statuspage.View {
	var sources []statuspage.Source
	for i := range 20 {
		s := fresh(fmt.Sprintf("Customer_%02d", i+1), i+1)
		switch i {
		case 4:
			s = failingView().Sources[2]
			s.Nickname = "Customer_05"
		case 9:
			s.State, s.CompleteUntil, s.CaughtUpAt, s.LagSeconds = status.Late, new(at("06:59")), new(at("06:59")), new(7_410.0)
		case 12:
			s = emptyView().Sources[0]
			s.Nickname = "Customer 13 / Übergröße GmbH & Co. KG – staging"
		}
		sources = append(sources, s)
	}
	return view(sources...)
}

// fresh is a source that does well; seed makes its numbers its own.
func fresh(nickname string, seed int) statuspage.Source {
	s := statuspage.Source{Source: status.Source{
		Nickname: nickname, Schema: "candu", State: status.Fresh, WatermarkAt: new(at("08:58")), CompleteUntil: new(at("08:59")), CaughtUpAt: new(at("08:59")),
		LagSeconds: new(210.0), Waiting: status.Waiting{WaitingRows: new(int64(42 * seed))}, Schedule: "0 * * * *", Timezone: "UTC", NextSlot: new(at("10:00")),
	}}
	for i := range 30 {
		day := now.AddDate(0, 0, i-29)
		views := int64(float64(40_000*seed) * (1.2 + math.Sin(float64(i)/3+float64(seed))))
		if day.Weekday() == time.Sunday {
			views /= 4
		}
		s.Days = append(s.Days, ledger.Day{Date: day.Format(time.DateOnly), Views: views, Interactions: views * 3 / 10})
	}
	for i := range 20 {
		start := at("09:00").Add(-time.Duration(i) * time.Hour)
		sent := int64(2_000*seed) + int64(i*i%7)*700
		seconds := 4 + float64(i*i%5)*3.3
		s.LastRuns = append(s.LastRuns, status.Run{
			RunRecord: ledger.RunRecord{
				ID: int64(400 - i), Kind: ledger.Scheduled, Status: ledger.RunSucceeded, SlotAt: new(start), StartedAt: start,
				FinishedAt: new(start.Add(time.Duration(seconds * float64(time.Second)))),
				Counters:   ledger.Counters{RowsRead: sent, Sent: sent, AlreadyDelivered: int64(i % 4)},
			},
			Seconds: seconds, EventsPerSecond: float64(sent) / seconds,
		})
	}
	for i := range 50 {
		s.Slots = append(s.Slots, ledger.Slot{At: at("09:00").Add(-time.Duration(i) * time.Hour), Status: "ran", RunID: new(int64(400 - i)), RunStatus: "succeeded"})
	}
	return s
}

func rejects() []ledger.RejectsOfReason {
	return []ledger.RejectsOfReason{
		{Reason: "missing_identity", Count: 1_204, LastSeenAt: at("08:58"), Examples: []ledger.RejectExample{
			{InteractionID: "0190f1b2-5c7e-7a11-9d2e-0242ac120002", Detail: "user_id is missing", LastSeenAt: at("08:58")},
			{InteractionID: "0190f1b2-5c7e-7a11-9d2e-0242ac120003", Detail: "user_id is missing", LastSeenAt: at("08:41")},
		}},
		{Reason: "invalid_tutorial_id", Count: 3, LastSeenAt: at("03:12"), Examples: []ledger.RejectExample{
			{InteractionID: "0190f1b2-5c7e-7a11-9d2e-0242ac120004", Detail: `tutorial_id "twelve" is not a whole number of 64 bits`, LastSeenAt: at("03:12")},
		}},
	}
}
