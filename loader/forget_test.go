package loader_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/fakesegment"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// somebody is who the tests forget.
const somebody = "somebody@example.com"

func (w *world) forget(t *testing.T, opts loader.ForgetOptions) loader.Receipt {
	t.Helper()
	receipt, err := w.loader(t).Forget(t.Context(), w.cfg.Sources[0], opts)
	require.NoError(t, err)
	return receipt
}

// add adds a row of the export that was exported now, so that runs within lookback read it again.
func (w *world) add(t *testing.T, id int, kind string, user, anonymous any) {
	t.Helper()
	w.exec(t, `insert into candu_interactions (id, kind, user_id, anonymous_id, tutorial_id, event_name, occurred_at, exported_at)
		values ($1, $2, $3, $4, 1, 'clicked', now() - interval '1 hour', now() - interval '30 minutes')`, id, kind, user, anonymous)
}

// noTrace demands that nothing in the schema has a text in it.
func (w *world) noTrace(t *testing.T, texts ...string) {
	t.Helper()
	tables := w.list(t, "select relname from pg_class where relnamespace = 'candu_test'::regnamespace and relkind in ('r', 'p', 'v')")
	require.Greater(t, len(tables), 10)
	for _, table := range tables {
		for _, text := range texts {
			require.Empty(t, w.list(t, fmt.Sprintf("select r::text from candu_test.%s r where strpos(r::text, '%s') > 0", table, text)), table)
		}
	}
}

// eventsOf counts the events that Segment accepted of an identity.
func (w *world) eventsOf(value string) (n int) {
	for _, e := range w.fake.Events() {
		if strings.Contains(string(e.Raw()), value) {
			n++
		}
	}
	return n
}

// Once forgotten nobody is sent again, whatever is done, and nothing here says who it was.
func TestForget_NobodySendsOrKeepsThem(t *testing.T) {
	t.Parallel()
	for name, deleted := range map[string]bool{"rows stay": false, "rows go": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{source: "lookback: 1d\nmax_rejected: 100%"})
			src := w.cfg.Sources[0]
			w.plain(t)
			for i := range 10 {
				w.add(t, i, "view", "other", "device-of-other")
			}
			w.add(t, 20, "view", somebody, "device-of-them")
			w.add(t, 21, "interaction", " "+somebody+"\u00a0", nil)
			w.add(t, 22, "hover", somebody, "device-of-them")
			w.add(t, 23, "view", "poison", somebody)
			w.add(t, 24, "view", nil, "device-of-them")
			w.fake.SetFaults(fakesegment.Faults{Poison: []fakesegment.Poison{{UserID: "poison"}}})
			w.run(t)
			w.fake.SetFaults(fakesegment.Faults{})
			w.exec(t, "update candu_test.loader_rejects set detail = 'it said: no such user "+somebody+"' where interaction_id = '22'")
			w.exec(t, "update candu_test.loader_runs set error = 'Segment said: "+somebody+" is bad'")
			require.Equal(t, 2, w.eventsOf(somebody))

			before := w.one(t, "select md5(string_agg(r::text, ',')) from (select s::text as r from candu_test.screens s union all select j::text from candu_test.loader_rejects j order by 1) r")
			dry := w.forget(t, loader.ForgetOptions{UserID: somebody, DryRun: true, Delete: deleted})
			require.Equal(t, before, w.one(t, "select md5(string_agg(r::text, ',')) from (select s::text as r from candu_test.screens s union all select j::text from candu_test.loader_rejects j order by 1) r"))
			require.Equal(t, "0", w.one(t, "select count(*) from candu_test.loader_forgotten"))
			require.Equal(t, "1 1 1 1", fmt.Sprint(dry.Rows.Screens, dry.Rows.Tracks, dry.Rows.TutorialInteraction, dry.Rows.Rejects))
			require.Equal(t, []string{"device-of-them"}, dry.Linked)
			require.EqualValues(t, 1, dry.LinkedRows)

			receipt := w.forget(t, loader.ForgetOptions{UserID: somebody, Delete: deleted, By: "ann@desk"})
			require.Equal(t, "1 1 1 1 1", fmt.Sprint(receipt.Rows.Screens, receipt.Rows.Tracks, receipt.Rows.TutorialInteraction, receipt.Rows.Rejects, receipt.Rows.Runs))
			require.False(t, receipt.Before)
			require.Equal(t, receipt.Number, w.one(t, "select left(encode(hash, 'hex'), 12) from candu_test.loader_forgotten where finished_at is not null and forgotten_by = 'ann@desk'"))
			require.Equal(t, "1", w.one(t, "select count(*) from candu_test.loader_rejects where interaction ->> 'anonymous_id' = '"+somebody+"'"), "another column is another identity")
			w.forget(t, loader.ForgetOptions{AnonymousID: somebody})
			w.noTrace(t, somebody)
			require.Equal(t, "1", w.one(t, "select count(*) from candu_test.screens where anonymous_id = 'device-of-them'"))
			proved := w.verify(t, loader.VerifyOptions{})
			require.True(t, proved.Proved, "%+v", proved)
			if !deleted {
				require.EqualValues(t, 2, proved.Forgotten)
				w.tampered(t)
			}

			t.Log("rows that come later, of every kind")
			w.add(t, 30, "view", somebody, nil)
			w.add(t, 31, "interaction", "\t"+somebody, "device-2")
			w.add(t, 32, "hover", somebody, nil)
			w.add(t, 33, "view", "other", somebody)
			w.exec(t, "update candu_interactions set tutorial_id = null where id = 30")
			none := func(what string, sent int64, err error) {
				t.Helper()
				require.NoError(t, err, what)
				require.Zero(t, sent, what)
				require.Equal(t, 2, w.eventsOf(somebody), what)
				w.noTrace(t, somebody, "device-2")
			}
			none("run", w.run(t).Sent, nil)
			require.Equal(t, []string{"30", "31", "32", "33"}, w.list(t, "select interaction_id from candu_test.loader_rejects where reason = 'forgotten' and interaction_id >= '30' order by 1"))
			require.True(t, w.verify(t, loader.VerifyOptions{}).Proved)
			require.Contains(t, w.log.String(), "rows of people who were forgotten were not sent")
			again, err := w.loader(t).RetryRejects(t.Context(), src, "")
			none("retry", again.Sent, err)
			from := time.Now().Add(-24 * time.Hour)
			filled, err := w.loader(t).Backfill(t.Context(), src, loader.BackfillOptions{From: &from})
			none("backfill", filled.Sent, err)
			w.exec(t, "delete from candu_test.screens where loader_interaction_id = '20'")
			w.exec(t, "delete from candu_test.loader_rejects")
			if !deleted {
				require.False(t, w.verify(t, loader.VerifyOptions{}).Proved)
			}
			var repaired int64
			report, err := w.loader(t).Repair(t.Context(), src, loader.VerifyOptions{}, func(_ string, run loader.Summary) { repaired += run.Sent })
			none("repair", repaired, err)
			require.True(t, report.Proved)
			_, err = w.loader(t).Backfill(t.Context(), src, loader.BackfillOptions{From: &from, Resend: true})
			none("resend", 0, err)
			x, err := w.loader(t).Explain(t.Context(), src, "30")
			require.NoError(t, err)
			require.Contains(t, x.Answer, "It is of somebody who was forgotten")
			x, err = w.loader(t).Explain(t.Context(), src, "21")
			require.NoError(t, err)
			if deleted {
				require.Contains(t, x.Answer, "It is of somebody who was forgotten")
			} else {
				require.Contains(t, x.Answer, "Segment accepted it on ")
				require.Contains(t, x.Answer, "its row names somebody who was forgotten, so the mirror keeps no identity of it.")
			}
		})
	}
}

// tampered demands that what else is changed in a row of somebody who was forgotten is seen, and an identity that came back.
func (w *world) tampered(t *testing.T) {
	t.Helper()
	for _, change := range []string{"tutorial_id = 77", "user_id = 'back'", "version_id = 'x'", "\"timestamp\" = \"timestamp\" + interval '1 second'"} {
		column, _, _ := strings.Cut(change, " =")
		w.exec(t, "create table kept as select * from candu_test.tutorial_interaction")
		w.exec(t, "update candu_test.tutorial_interaction set "+change+" where loader_interaction_id = '21'")
		report := w.verify(t, loader.VerifyOptions{})
		require.False(t, report.Proved, change)
		require.Contains(t, report.Changed.Columns["21"], strings.Trim(column, `"`), change)
		w.exec(t, "delete from candu_test.tutorial_interaction")
		w.exec(t, "insert into candu_test.tutorial_interaction select * from kept")
		w.exec(t, "drop table kept")
	}
	w.exec(t, "begin; update candu_interactions set user_id = null, anonymous_id = null where id = 21; update candu_interactions set event_name = event_name || '!' where id = 20; commit")
	require.True(t, w.verify(t, loader.VerifyOptions{}).Proved, "erased alike in both, on a day that is looked at row by row")
	w.exec(t, "update candu_interactions set user_id = $1 where id = 21", somebody)
}

// What a row means counts, not how it is spelled, of whoever was forgotten too.
func TestForget_NumbersSpelledOddly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "lookback: 1d"})
	w.sample(t, loadertest.Export{NumberType: "text"})
	w.add(t, 1, "view", somebody, nil)
	w.exec(t, "update candu_interactions set tutorial_id = '007', portal_id = '-08'")
	w.run(t)
	w.forget(t, loader.ForgetOptions{UserID: somebody})
	require.Equal(t, "proved 1", fmt.Sprint(w.verify(t, loader.VerifyOptions{}).Verdict, " ", w.verify(t, loader.VerifyOptions{}).Forgotten))
}

// Numbers are compared as they are sent, whoever spells them.
func TestForget_ANumber(t *testing.T) {
	t.Parallel()
	for column, spelled := range map[string]string{"numeric": "42.0", "bigint": "+042", "text": "42"} {
		t.Run(column, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{source: "lookback: 1d"})
			w.plain(t)
			w.exec(t, "alter table candu_interactions alter column user_id type "+column+" using user_id::"+column)
			value := map[string]string{"numeric": "42.00", "bigint": "42", "text": " 42 "}[column]
			w.exec(t, `insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at)
				select i, 'view', case when i < 3 then '`+value+`'::`+column+` else '421'::`+column+` end, 1, now(), now() from generate_series(1, 5) i`)
			w.run(t)
			require.EqualValues(t, 2, w.forget(t, loader.ForgetOptions{UserID: spelled}).Rows.Screens)
			require.Equal(t, "3", w.one(t, "select count(user_id) from candu_test.screens"))
			w.exec(t, "insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at) select 9, kind, user_id, 1, now(), now() from candu_interactions where id = 1")
			require.Zero(t, w.run(t).Sent)
			require.Equal(t, "forgotten", w.one(t, "select reason from candu_test.loader_rejects"))
			statement := w.forget(t, loader.ForgetOptions{UserID: spelled}).Remains[0].Command
			w.exec(t, statement)
			require.Equal(t, "3", w.one(t, "select count(*) from candu_interactions where user_id is null"), statement)
		})
	}
}

// Anonymous ids of a user are forgotten where that is asked for, and named where it is not.
func TestForget_WithAnonymousIDs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "lookback: 1d"})
	w.plain(t)
	w.add(t, 1, "view", somebody, "laptop")
	w.add(t, 2, "interaction", somebody, "phone")
	w.add(t, 3, "interaction", nil, "phone")
	w.add(t, 4, "view", "other", "laptop")
	w.add(t, 5, "view", "other", "tablet")
	w.run(t)
	dry := w.forget(t, loader.ForgetOptions{UserID: somebody, DryRun: true, WithAnonymousIDs: true})
	require.Equal(t, "2 2 2", fmt.Sprint(dry.Rows.Screens, dry.Rows.Tracks, dry.Rows.TutorialInteraction))
	receipt := w.forget(t, loader.ForgetOptions{UserID: somebody, WithAnonymousIDs: true})
	require.Equal(t, dry.Rows, receipt.Rows)
	require.EqualValues(t, 1, receipt.OfOthers)
	require.Equal(t, 2, receipt.Anonymous)
	require.Equal(t, []string{"laptop", "phone"}, receipt.Linked)
	for statement := range strings.Lines(receipt.Remains[0].Command) {
		w.exec(t, statement)
	}
	require.Equal(t, "4", w.one(t, "select count(*) from candu_interactions where user_id is null and anonymous_id is null"))
	w.noTrace(t, somebody, "phone", "laptop")
	require.Equal(t, "other", w.one(t, "select string_agg(user_id, ',') from candu_test.screens"))
	w.add(t, 6, "view", nil, "phone")
	require.Zero(t, w.run(t).Sent)
	require.True(t, w.verify(t, loader.VerifyOptions{}).Proved)
	require.True(t, w.forget(t, loader.ForgetOptions{AnonymousID: "phone"}).Before)
}

// What was interrupted is remembered, so nothing is sent meanwhile, and goes on.
func TestForget_GoesOnAfterAnInterruption(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "lookback: 1d"})
	w.plain(t)
	w.add(t, 1, "interaction", somebody, nil)
	w.add(t, 2, "hover", somebody, nil)
	w.run(t)
	w.exec(t, "create function candu_test.no() returns trigger language plpgsql as $$begin raise 'not now'; end$$")
	w.exec(t, "create trigger no before update on candu_test.loader_rejects for each row execute function candu_test.no()")
	_, err := w.loader(t).Forget(t.Context(), w.cfg.Sources[0], loader.ForgetOptions{UserID: somebody})
	require.ErrorContains(t, err, "not now")
	require.Equal(t, "NULL", w.one(t, "select finished_at from candu_test.loader_forgotten"))
	w.exec(t, "drop function candu_test.no cascade")
	w.exec(t, "delete from candu_interactions where id = 2")
	w.add(t, 3, "view", somebody, nil)
	require.Zero(t, w.run(t).Sent)
	require.EqualValues(t, 1, w.forget(t, loader.ForgetOptions{UserID: somebody}).Rows.Rejects)
	w.noTrace(t, somebody)
	require.Equal(t, "0", w.one(t, "select count(*) from candu_test.loader_leases where expires_at > now()"), "the leases are free")
}

// Nobody is forgotten beside a run, which may have their rows in its hands.
func TestForget_WaitsForRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "lookback: 1d"})
	w.plain(t)
	w.add(t, 1, "view", somebody, nil)
	w.run(t)
	for _, lease := range []string{"run", "backfill"} {
		w.exec(t, "insert into candu_test.loader_leases (name, holder, token, acquired_at, expires_at) values ($1, 'another', 1, now(), now() + interval '30 seconds') "+
			"on conflict (name) do update set holder = 'another', expires_at = now() + interval '30 seconds'", lease)
		_, err := w.hurried(t, 0).Forget(t.Context(), w.cfg.Sources[0], loader.ForgetOptions{UserID: somebody})
		require.Equal(t, fault.Busy, fault.KindOf(err), "%v", err)
		require.Equal(t, "0", w.one(t, "select count(*) from candu_test.loader_forgotten"))
		w.exec(t, "update candu_test.loader_leases set expires_at = now()")
	}
	require.EqualValues(t, 1, w.forget(t, loader.ForgetOptions{UserID: somebody}).Rows.Screens)
}

// A run that waited for the lease while somebody was forgotten knows of it.
func TestForget_ARunThatWaitedKnows(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "lookback: 1d"})
	w.plain(t)
	w.run(t)
	w.add(t, 1, "view", somebody, nil)
	tx, err := w.db.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	_, err = tx.Exec(t.Context(), "update candu_test.loader_leases set expires_at = to_timestamp(0)")
	require.NoError(t, err)
	done := make(chan loader.Summary, 1)
	go func() {
		summary, _ := w.loader(t).Run(t.Context(), w.cfg.Sources[0], loader.RunOptions{})
		done <- summary
	}()
	loadertest.Eventually(t, func() bool {
		return w.one(t, "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'") != "0"
	}, "the run to wait for the lease")
	_, err = tx.Exec(t.Context(), "update candu_test.loader_state set forgotten_salt = 'salt'")
	require.NoError(t, err)
	identity, _ := event.IdentityOf(event.UserID, somebody)
	_, err = tx.Exec(t.Context(), "insert into candu_test.loader_forgotten (hash, identity) values ($1, 'user_id')", identity.Hash([]byte("salt")))
	require.NoError(t, err)
	require.NoError(t, tx.Commit(t.Context()))
	require.EqualValues(t, "succeeded", loadertest.Receive(t, done, "the run to end").Status)
	require.Zero(t, w.eventsOf(somebody))
	require.Equal(t, "forgotten", w.one(t, "select reason from candu_test.loader_rejects"))
}

// Whoever is nowhere is remembered all the same, and so many rows of theirs stop no run.
func TestForget_SomebodyWhoIsNowhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "lookback: 1d"})
	w.plain(t)
	w.run(t)
	receipt := w.forget(t, loader.ForgetOptions{UserID: somebody})
	require.Zero(t, receipt.Rows.Sum())
	for i := range 30 {
		w.add(t, i, "view", somebody, nil)
		w.add(t, 100+i, "view", "other", nil)
	}
	require.NotContains(t, w.check(t), "rows_rejected")
	summary := w.run(t)
	require.EqualValues(t, 30, summary.Rejected)
	require.EqualValues(t, 30, w.run(t).RejectedBefore)
	require.EqualValues(t, 30, w.fake.Stats().Received)
	require.Equal(t, "0", w.one(t, "select count(*) from candu_test.loader_forgotten where strpos(loader_forgotten::text, '"+somebody+"') > 0"))

	t.Log("without the export too")
	w.exec(t, "drop table candu_interactions")
	receipt = w.forget(t, loader.ForgetOptions{UserID: somebody})
	require.NotEmpty(t, receipt.Unsure)
	require.Contains(t, receipt.Remains[0].Command, `UPDATE "public"."candu_interactions" SET "user_id" = NULL`)
}
