package loader_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// abroad makes an export in a database of another encoding than the warehouse's.
func abroad(t *testing.T, encoding, id, more string) (w *world, export *world) {
	t.Helper()
	url := loadertest.DatabaseIn(t, encoding)
	export = &world{url: url, db: loadertest.Pool(t, url+"&client_encoding=UTF8")}
	w = newWorld(t, settings{source: "page_size: 50\nlookback: 1h\nmax_rejected: 100%\n" + more + "\ninteractions: {url: \"" + url + "\", kinds: {view: [view, Ansicht, 表示], interaction: [interaction, 'geklickt Ö']}}"})
	export.exec(t, fmt.Sprintf(`create table candu_interactions (id %s primary key, kind text, user_id text, anonymous_id char(12), tutorial_id integer,
		segment_id text, portal_id integer, version_id text, event_name text, occurred_at timestamptz, exported_at timestamptz not null)`, id))
	return w, export
}

// row inserts a row; its texts are given by their bytes in the export's encoding.
func (w *world) row(t *testing.T, n int, id, anonymous, name string) {
	t.Helper()
	w.exec(t, `insert into candu_interactions (id, kind, user_id, anonymous_id, tutorial_id, event_name, occurred_at, exported_at)
		select convert_from($2::bytea, 'SQL_ASCII'), 'interaction', 'u', convert_from($3::bytea, 'SQL_ASCII'), 1, convert_from($4::bytea, 'SQL_ASCII'),
			$5::timestamptz, $5::timestamptz + $1 * interval '1 ms'`,
		n, []byte(id), []byte(anonymous), []byte(name), time.Now().Add(-10*time.Minute).Truncate(time.Second))
}

// Whatever the export's encoding, texts arrive as they are there, and a row that can't is a reject of
// its own, found again by its bytes.
func TestRun_ReadsOtherEncodings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		encoding string
		// good is a text by its bytes there, of which means is what it is; bad can't be converted.
		good, means, bad string
		// spoiled is what becomes of bad in a value, "" if the row is rejected.
		spoiled string
	}{
		{"LATIN1", "Stra\xdfe \xa9", "Straße ©", "", ""},
		{"WIN1252", "5 \x80 f\xfcr", "5 € für", "x\x81y", ""},
		{"WIN1251", "\xcf\xf0\xe8\xe2\xe5\xf2", "Привет", "x\x98y", ""},
		{"EUC_JP", "\xc9\xbd\xbc\xa8", "表示", "\x8f\xa2\xa1", ""},
		{"SQL_ASCII", "Straße 表示", "Straße 表示", "x\xfcy", "x\ufffdy"},
	} {
		t.Run(c.encoding, func(t *testing.T) {
			t.Parallel()
			w, export := abroad(t, c.encoding, "text", "")
			bad := c.bad != ""
			for n := range 120 {
				id, name := fmt.Sprintf("row-%03d", n), "plain"
				switch {
				case n%10 == 1:
					name = c.good
				case n == 50, n == 52, n == 119:
					id = fmt.Sprintf("%s-%d", c.good, n)
				case bad && (n == 0 || n == 77):
					name = c.bad
				case bad && (n == 49 || n == 99 || n == 100):
					id = fmt.Sprintf("%s-%d", c.bad, n)
				case bad && n == 102:
					id = `\x` + fmt.Sprintf("%x", c.bad+"-100")
				}
				export.row(t, n, id, c.good[:min(len(c.good), 12)], name)
			}
			summary := w.run(t)
			require.EqualValues(t, 120, summary.RowsRead)
			rejects := []string{}
			if bad {
				for _, n := range []string{"49", "99", "100"} {
					rejects = append(rejects, fmt.Sprintf(`\x%x invalid_text`, c.bad+"-"+n))
				}
				rejects = append(rejects, fmt.Sprintf(`\x%x invalid_text`, fmt.Sprintf(`\x%x`, c.bad+"-100")))
				if c.spoiled == "" {
					rejects = append(rejects, "row-000 invalid_text", "row-077 invalid_text")
				}
			}
			require.ElementsMatch(t, rejects, w.list(t, "select interaction_id || ' ' || reason from candu_test.loader_rejects"))
			require.EqualValues(t, 120-len(rejects), summary.Sent)
			require.Equal(t, "12", w.one(t, "select count(*) from candu_test.tutorial_interaction where event_name = $1", c.means))
			require.Equal(t, c.means+"-50", w.one(t, "select loader_interaction_id from candu_test.tracks where loader_interaction_id = $1", c.means+"-50"))
			if c.spoiled != "" {
				require.Equal(t, "2", w.one(t, "select count(*) from candu_test.tutorial_interaction where event_name = $1", c.spoiled))
			}

			t.Log("what was read is found again, and nothing is sent twice")
			again := w.run(t)
			require.Zero(t, again.Sent)
			require.EqualValues(t, len(rejects), again.RejectedBefore)
			report := w.verify(t, loader.VerifyOptions{})
			require.True(t, report.Proved, "%+v", report)
			require.EqualValues(t, 120, report.Rows)
			require.Equal(t, c.encoding, report.ReadAs)
			require.Contains(t, w.log.String(), "which is slower")
			for _, reject := range rejects {
				id, _, _ := strings.Cut(reject, " ")
				x, err := w.loader(t).Explain(t.Context(), w.cfg.Sources[0], id)
				require.NoError(t, err)
				require.NotNil(t, x.Row, id)
				require.EqualValues(t, "rejects", x.Place)
			}
			for _, id := range []string{"no such ☃"} {
				_, err := w.loader(t).Explain(t.Context(), w.cfg.Sources[0], id)
				require.ErrorContains(t, err, "no row or event with this id")
			}
			for _, finding := range w.loader(t).Check(t.Context(), w.cfg.Sources[0], true) {
				require.NotEqualValues(t, "error", finding.Level, "%+v", finding)
			}

			t.Log("a row that is lost is found missing, and sent")
			w.exec(t, "delete from candu_test.tracks where loader_interaction_id = $1", c.means+"-50")
			w.exec(t, "delete from candu_test.tutorial_interaction where loader_interaction_id = $1", c.means+"-50")
			report = w.verify(t, loader.VerifyOptions{})
			require.Equal(t, []string{c.means + "-50"}, report.Missing.IDs)
			w.backfill(t, loader.BackfillOptions{From: new(time.Now().Add(-time.Hour)), Repair: true})
			require.True(t, w.verify(t, loader.VerifyOptions{}).Proved)

			t.Log("a retry finds the rows again, and sends what was mended")
			if bad {
				export.exec(t, "update candu_interactions set id = 'mended' where id = convert_from($1::bytea, 'SQL_ASCII')", []byte(c.bad+"-99"))
				export.exec(t, "update candu_interactions set event_name = 'mended' where id in ('row-000', 'row-077')")
				retried, err := w.loader(t).RetryRejects(t.Context(), w.cfg.Sources[0], "invalid_text")
				require.NoError(t, err)
				require.EqualValues(t, len(rejects)-1, retried.RowsRead)
				require.EqualValues(t, len(rejects)-4, retried.Sent)
				require.EqualValues(t, 1, w.run(t).Sent)
				report = w.verify(t, loader.VerifyOptions{})
				require.Equal(t, c.spoiled == "", report.Proved, "%+v", report)
				if c.spoiled != "" {
					require.ElementsMatch(t, []string{"row-000", "row-077"}, report.Changed.IDs, "they were sent with another event_name")
					require.Equal(t, []string{"event_name"}, report.Changed.Columns["row-077"])
				}
			}
		})
	}
}

// A whole page of them is no end, and the cursor passes them.
func TestRun_PassesPagesThatCantBeConverted(t *testing.T) {
	t.Parallel()
	w, export := abroad(t, "WIN1252", "varchar(40)", "")
	for n := range 130 {
		id := fmt.Sprintf("%03d\x81", n)
		if n == 129 {
			id = "last"
		}
		export.row(t, n/3, id, "a", "b") // Ties, too.
	}
	summary := w.run(t)
	require.EqualValues(t, 129, summary.Rejected)
	require.EqualValues(t, 1, summary.Sent)
	require.EqualValues(t, 130, summary.RowsRead)
	require.Equal(t, "129", w.one(t, "select count(*) from candu_test.loader_rejects"))
	require.True(t, w.verify(t, loader.VerifyOptions{}).Proved)
}

// Labels and spellings of kinds are converted like all texts.
func TestRun_KindsInOtherEncodings(t *testing.T) {
	t.Parallel()
	for encoding, spelling := range map[string]string{"LATIN1": "geklickt Ö", "EUC_JP": "表示", "SQL_ASCII": "geklickt Ö"} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			w, export := abroad(t, encoding, "integer", "")
			export.exec(t, "create type what as enum ('view', '"+spelling+"')")
			export.exec(t, "alter table candu_interactions alter column kind type what using kind::what")
			export.exec(t, `insert into candu_interactions (id, kind, user_id, tutorial_id, event_name, occurred_at, exported_at)
				select n, '`+spelling+`', 'u', 1, 'x', now() - interval '1 minute', now() - interval '1 minute' from generate_series(1, 5) as n`)
			require.EqualValues(t, 5, w.run(t).Sent)
			require.True(t, w.verify(t, loader.VerifyOptions{}).Proved)
			for _, finding := range w.loader(t).Check(t.Context(), w.cfg.Sources[0], true) {
				require.NotContains(t, finding.Text, `"`+spelling+`"`, "it is a label and a spelling")
				require.NotEqual(t, "kinds_unreadable", finding.Code, finding.Text)
			}
		})
	}
}

// A warehouse that can't hold every text is refused before anything is made or sent.
func TestRun_RefusesAWarehouseThatIsNotUTF8(t *testing.T) {
	t.Parallel()
	for _, encoding := range []string{"LATIN1", "SQL_ASCII"} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{warehouse: loadertest.DatabaseIn(t, encoding)})
			w.plain(t)
			w.insert(t, 1, time.Now())
			_, err := w.try(t, loader.RunOptions{})
			require.ErrorContains(t, err, "its encoding "+encoding+" can't hold every text")
			require.True(t, fault.Is(err, fault.Precondition))
			require.Contains(t, fault.HintOf(err), "CREATE DATABASE")
			w.made = true
			_, err = w.try(t, loader.RunOptions{})
			require.ErrorContains(t, err, "can't hold every text")
			var codes []string
			for _, finding := range w.loader(t).Check(t.Context(), w.cfg.Sources[0], true) {
				if finding.Level == "error" {
					codes = append(codes, finding.Code)
				}
			}
			require.Equal(t, []string{"warehouse_encoding"}, codes)
			require.Zero(t, w.fake.Stats().Received)
		})
	}
}
