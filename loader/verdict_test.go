package loader_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/status"
)

// proof reads what is known, as another process does.
func (w *world) proof(t *testing.T) status.Proof {
	t.Helper()
	s := w.loader(t).Status(t.Context(), w.cfg.Sources[0], status.Memory{})
	require.NoError(t, s.Err)
	return *s.Proof
}

// recent makes an export of the last days: what verify.last looks at.
func (w *world) recent(t *testing.T) {
	t.Helper()
	w.sample(t, loadertest.Export{Rows: 300, Start: time.Now().AddDate(0, 0, -40), End: time.Now().Add(-time.Hour)})
}

// A verdict is kept, and called what it was: whoever asks later hears of a difference until all that it
// was found in is proved.
func TestVerdict_IsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.recent(t)
	w.run(t)
	require.Equal(t, "never proved", w.proof(t).Sentence)
	w.verify(t, loader.VerifyOptions{From: new(time.Now().AddDate(0, 0, -3))})
	require.Equal(t, "never proved", w.proof(t).Sentence, "three days are not the source")
	require.True(t, w.verify(t, loader.VerifyOptions{}).Proved)
	p := w.proof(t)
	require.Equal(t, ledger.Proved, p.Verdict)
	require.NotNil(t, p.ProvedAt)
	require.Equal(t, p.UpTo.UTC(), w.loader(t).Status(t.Context(), w.cfg.Sources[0], status.Memory{}).WatermarkAt.UTC())
	require.Regexp(t, `^last proved just now, up to `, p.Sentence)

	t.Log("a row of 39 days ago and one of yesterday vanish from the mirror")
	lost := "select id from candu_test.screens where \"timestamp\" < now() - interval '38 days' order by id limit 1"
	w.exec(t, "create table lost as select * from candu_test.screens where id in ("+lost+")")
	w.exec(t, "delete from candu_test.screens where id in ("+lost+")")
	require.True(t, w.verify(t, loader.VerifyOptions{Scheduled: true}).Proved, "the last 35 days are")
	require.Contains(t, w.proof(t).Sentence, ", for what occurred since ")
	require.False(t, w.verify(t, loader.VerifyOptions{}).Proved)
	p = w.proof(t)
	require.Equal(t, ledger.NotProved, p.Verdict)
	require.Equal(t, map[string]int64{"missing": 1}, p.Differences)
	require.Regexp(t, `^NOT proved: 1 missing, checked just now; last proved just now$`, p.Sentence)

	t.Log("what the schedule looks at does not end it")
	require.True(t, w.verify(t, loader.VerifyOptions{From: new(time.Now().AddDate(0, 0, -36))}).Proved)
	require.Equal(t, ledger.NotProved, w.proof(t).Verdict)
	require.False(t, w.verify(t, loader.VerifyOptions{Scheduled: true}).Proved, "it goes back to the difference")
	require.Equal(t, ledger.NotProved, w.proof(t).Verdict)

	w.exec(t, "insert into candu_test.screens table lost")
	require.True(t, w.verify(t, loader.VerifyOptions{Scheduled: true}).Proved)
	p = w.proof(t)
	require.Equal(t, ledger.Proved, p.Verdict)
	require.Nil(t, p.From, "all of it was looked at")
	require.Empty(t, p.Differences)
}

// What compares ids, kinds and times alone proves nothing of the rest, and the schedule compares all.
func TestVerdict_IsOfContents(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.recent(t)
	w.run(t)
	require.True(t, w.verify(t, loader.VerifyOptions{Quick: true}).Proved)
	require.Equal(t, "never proved", w.proof(t).Sentence)
	require.True(t, w.verify(t, loader.VerifyOptions{Scheduled: true}).Proved)
	require.Equal(t, ledger.Proved, w.proof(t).Verdict)
	w.exec(t, "update candu_test.screens set tutorial_id = tutorial_id + 1 where id = (select max(id) from candu_test.screens)")
	require.True(t, w.verify(t, loader.VerifyOptions{Quick: true}).Proved)
	require.False(t, w.verify(t, loader.VerifyOptions{Scheduled: true}).Proved)
	require.Equal(t, map[string]int64{"changed": 1}, w.proof(t).Differences)
	require.True(t, w.verify(t, loader.VerifyOptions{Quick: true}).Proved)
	require.Regexp(t, "^NOT proved: 1 changed, ", w.proof(t).Sentence)
}

// A proof is about an export, a namespace, a start and a place in reading: of another one it says nothing,
// nor does a verification that was under way meanwhile.
func TestVerdict_IsForgottenWithWhatItIsAbout(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(t *testing.T, w *world){
		"another export": func(t *testing.T, w *world) {
			t.Helper()
			w.exec(t, "create table other (like candu_interactions including all)")
			w.exec(t, "insert into other table candu_interactions")
			w.exec(t, "drop table candu_interactions; alter table other rename to candu_interactions")
			w.exec(t, "update candu_interactions set occurred_at = occurred_at + interval '1 ms', id = id + 100000")
			_, err := w.try(t, loader.RunOptions{NewExport: true, Limit: 1})
			require.NoError(t, err)
		},
		"another namespace": func(t *testing.T, w *world) {
			t.Helper()
			w.exec(t, "update candu_test.loader_state set place_database = 'the original''s'")
			_, err := w.loader(t).Migrate(t.Context(), w.cfg.Sources[0], ledger.MigrateOptions{NewNamespace: true})
			require.NoError(t, err)
		},
		"another start": func(t *testing.T, w *world) {
			t.Helper()
			w.cfg.Sources[0].StartAt.At = time.Now().AddDate(0, 0, -5)
			_, err := w.loader(t).Migrate(t.Context(), w.cfg.Sources[0], ledger.MigrateOptions{SetStart: true})
			require.NoError(t, err)
		},
		"a clock that was put back": func(t *testing.T, w *world) {
			t.Helper()
			w.exec(t, "update candu_test.loader_runs set export_clock_behind = export_clock_behind - interval '5 minutes'")
			w.run(t)
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{})
			w.recent(t)
			w.run(t)
			w.verify(t, loader.VerifyOptions{})
			require.Equal(t, ledger.Proved, w.proof(t).Verdict)
			epoch := w.one(t, "select proof_epoch from candu_test.loader_state")
			change(t, w)
			require.Equal(t, "never proved", w.proof(t).Sentence)
			require.NotEqual(t, epoch, w.one(t, "select proof_epoch from candu_test.loader_state"), "a verification under way is not recorded")
		})
	}
}

// Who asks by hand has the verdict, recorded or not; the schedule's would be lost.
func TestVerdict_CanNotBeRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.recent(t)
	w.run(t)
	w.exec(t, `create function candu_test.refuse() returns trigger language plpgsql as $$ begin raise exception 'not here'; end $$`)
	w.exec(t, `create trigger refuse before update of proof on candu_test.loader_state for each row execute function candu_test.refuse()`)
	require.True(t, w.verify(t, loader.VerifyOptions{}).Proved)
	require.Contains(t, w.log.String(), "recording the verdict: status and serve go on showing the one before")
	_, err := w.loader(t).Verify(t.Context(), w.cfg.Sources[0], loader.VerifyOptions{Scheduled: true})
	require.ErrorContains(t, err, "not here")
	require.Equal(t, "never proved", w.proof(t).Sentence)
}
