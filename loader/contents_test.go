package loader_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// notFromTheRow are columns of the mirror of which a row of the export says nothing.
var notFromTheRow = []string{
	"received_at", "sent_at", "uuid_ts", "context_integration_version", "context_library_name", "context_library_version",
}

// Every column of the mirror that came from the row, and every one that an interaction's two tables share, is
// compared, and is named if it differs.
func TestVerify_SeesEveryColumn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	january(t, w, 300)
	w.exec(t, "update candu_interactions set kind = 'view' where id = 100")
	w.exec(t, "update candu_interactions set kind = 'interaction', event_name = 'Straße' where id = 101")
	w.exec(t, "update candu_interactions set user_id = 'u', anonymous_id = 'a', segment_id = 's', portal_id = 7, version_id = 'v' where id in (100, 101)")
	w.run(t)
	l := w.loader(t)
	require.True(t, w.verifyBy(t, l, loader.VerifyOptions{}).Proved)
	changes := map[string][]string{
		"text":                     {"%s || 'x'", "null", "''"},
		"character varying":        {"%s || 'x'", "overlay(%s placing '0' from 36)", "'00000000-0000-0000-0000-000000000000'"},
		"bigint":                   {"%s + 1", "null"},
		"timestamp with time zone": {"%s + interval '1 microsecond'", "%s + interval '3 hours'", "%s - interval '40 days'", "null", "'infinity'"},
	}
	seen := 0
	for table, id := range map[string]string{"screens": "100", "tracks": "101", "tutorial_interaction": "101"} {
		w.exec(t, fmt.Sprintf("create table before_%[1]s as select * from candu_test.%[1]s", table))
		columns := w.list(t, "select column_name || ':' || data_type from information_schema.columns where table_schema = 'candu_test' and table_name = '"+table+"'")
		require.GreaterOrEqual(t, len(columns), 15)
		for _, column := range columns {
			name, kind, _ := strings.Cut(column, ":")
			require.Contains(t, changes, kind)
			for i, change := range changes[kind] {
				if strings.Contains(change, "%s") {
					change = fmt.Sprintf(change, `"`+name+`"`)
				}
				if name == "id" && change == "null" {
					continue
				}
				w.exec(t, fmt.Sprintf(`update candu_test.%s set %q = %s where loader_interaction_id = '%s'`, table, name, change, id))
				same := w.one(t, fmt.Sprintf("select count(*) from (table candu_test.%[1]s except table before_%[1]s) as d", table)) == "0"
				ways := []loader.VerifyOptions{{}, {From: day(1), To: day(31)}}
				if i > 0 {
					ways = ways[i%2 : i%2+1]
				}
				for _, opts := range ways {
					report := w.verifyBy(t, l, opts)
					if same || table == "screens" && slices.Contains(notFromTheRow, name) {
						require.True(t, report.Proved, "%s.%s = %s: %+v", table, name, change, report)
						continue
					}
					seen++
					require.False(t, report.Proved, "%s.%s = %s", table, name, change)
					require.Equal(t, []string{id}, report.Changed.IDs, "%s.%s = %s: %+v", table, name, change, report)
					require.Contains(t, report.Changed.Columns[id], name, "%s = %s", table, change)
					require.EqualValues(t, 1, report.Missing.Rows+report.Changed.Rows+report.Doubled.Rows+report.SentAgain.Rows, "%+v", report)
				}
				if i == 0 && name != "timestamp" && name != "loader_interaction_id" && name != "id" {
					quick := w.verifyBy(t, l, loader.VerifyOptions{Quick: true})
					require.True(t, quick.Quick)
					require.True(t, quick.Proved, "%s.%s = %s: %+v", table, name, change, quick)
				}
				w.exec(t, fmt.Sprintf("delete from candu_test.%[1]s; insert into candu_test.%[1]s table before_%[1]s", table))
			}
		}
	}
	require.Greater(t, seen, 100)
	require.True(t, w.verifyBy(t, l, loader.VerifyOptions{}).Proved)
}

// Every value of the export that reaches the mirror is compared.
func TestVerify_SeesEveryValueOfTheExport(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.sample(t, loadertest.Export{Rows: 200, NumberType: "text", Start: *day(1), End: *day(11)})
	w.exec(t, "update candu_interactions set kind = 'interaction', event_name = 'x' where id = 101")
	w.exec(t, "update candu_interactions set user_id = 'u', anonymous_id = 'a', segment_id = 's', portal_id = '7', version_id = 'v' where id = 101")
	w.run(t)
	l := w.loader(t)
	w.exec(t, "create table before as table candu_interactions")
	for _, c := range []struct {
		set, column string // "" = the row is no other one.
	}{
		{"user_id = 'U'", "user_id"}, {"user_id = null", "user_id"}, {"user_id = ' u'", "user_id"}, {"anonymous_id = null", "anonymous_id"},
		{"user_id = null, anonymous_id = E'\\t'", "user_id"}, {"tutorial_id = '5'", "tutorial_id"}, {"tutorial_id = null", "tutorial_id"}, {"tutorial_id = 'x'", "tutorial_id"},
		{"segment_id = 'S'", "segment_id"}, {"portal_id = null", "portal_id"}, {"portal_id = 'x'", "portal_id"}, {"portal_id = '007'", ""}, {"version_id = ''", "version_id"},
		{"version_id = repeat('v', 40000)", "version_id"}, {"event_name = 'y'", "event_name"}, {"event_name = null", "event_name"}, {"kind = 'view'", "kind"},
		{"kind = 'hover'", "kind"}, {"occurred_at = occurred_at + interval '1 microsecond'", "timestamp"}, {"occurred_at = null", "timestamp"},
		{"occurred_at = '1969-01-01'", "timestamp"}, {"segment_id = ' s'", "segment_id"}, {"exported_at = exported_at + interval '1 microsecond'", ""},
	} {
		w.exec(t, "update candu_interactions set "+c.set+" where id = 101")
		report := w.verifyBy(t, l, loader.VerifyOptions{})
		require.Equal(t, c.column == "", report.Proved, "%s: %+v", c.set, report)
		if c.column != "" {
			require.Equal(t, []string{"101"}, report.Changed.IDs, "%s: %+v", c.set, report)
			require.Contains(t, report.Changed.Columns["101"], c.column, c.set)
			require.EqualValues(t, 199, report.Mirrored)
		}
		w.exec(t, "truncate candu_interactions; insert into candu_interactions table before")
	}
	require.True(t, w.verifyBy(t, l, loader.VerifyOptions{}).Proved)
}

// The table that analysts query must have what tracks has: its differences fail the proof.
func TestVerify_SeesWhatTheTablesOfAnInteractionDifferIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	january(t, w, 300)
	w.run(t)
	l := w.loader(t)
	w.exec(t, "create table before as table candu_test.tutorial_interaction")
	some := "(select loader_interaction_id from before order by id limit 50)"
	const all = "id, received_at, uuid_ts, user_id, event, event_text, original_timestamp, \"timestamp\", loader_interaction_id"
	for name, story := range map[string]struct {
		sql                       string
		missing, changed, doubled int64
	}{
		"twice":          {"insert into candu_test.tutorial_interaction (" + all + ") select 'again' || " + all + " from before where loader_interaction_id in " + some, 0, 0, 50},
		"missing":        {"delete from candu_test.tutorial_interaction where loader_interaction_id in " + some, 50, 0, 0},
		"3 hours later":  {`update candu_test.tutorial_interaction set "timestamp" = "timestamp" + interval '3 hours', original_timestamp = "timestamp" + interval '3 hours' where loader_interaction_id in ` + some, 0, 50, 0},
		"another person": {"update candu_test.tutorial_interaction set user_id = 'x' where loader_interaction_id in " + some, 0, 50, 0},
		"alone":          {"delete from candu_test.tracks where loader_interaction_id in " + some, 50, 0, 0},
	} {
		w.exec(t, "create table tracks_before as table candu_test.tracks")
		w.exec(t, story.sql)
		for _, opts := range []loader.VerifyOptions{{}, {From: day(1), To: day(28)}} {
			report := w.verifyBy(t, l, opts)
			require.False(t, report.Proved, name)
			require.Equal(t, []int64{story.missing, story.changed, story.doubled}, []int64{report.Missing.Rows, report.Changed.Rows, report.Doubled.Rows}, "%s: %+v", name, report)
		}
		w.exec(t, "truncate candu_test.tutorial_interaction, candu_test.tracks; insert into candu_test.tutorial_interaction table before; insert into candu_test.tracks table tracks_before; drop table tracks_before")
		require.True(t, w.verifyBy(t, l, loader.VerifyOptions{}).Proved)
	}
}

// Whatever relation the export is, and however it says what a row is.
func TestVerify_EveryKindOfExport(t *testing.T) {
	t.Parallel()
	for name, story := range map[string]struct{ source, sql string }{
		"partitions": {"", `alter table candu_interactions rename to old; create table candu_interactions (like old) partition by range (occurred_at);
			create table p1 partition of candu_interactions for values from ('2026-01-01') to ('2026-01-05'); create table p2 partition of candu_interactions default;
			insert into candu_interactions table old; create index on candu_interactions (exported_at, id)`},
		"view":              {"", "alter table candu_interactions rename to old; create view candu_interactions as select * from old where id > 10"},
		"no index":          {"", "drop index candu_interactions_exported_at_id_idx"},
		"by event name":     {"interactions: {kinds: by_event_name}", "update candu_interactions set event_name = E'\\u3000' where kind = 'view' and id % 3 = 0; alter table candu_interactions drop kind"},
		"several spellings": {"interactions: {kinds: {view: [view, Seen], interaction: [interaction, Clicked]}}", "update candu_interactions set kind = case kind when 'view' then 'Seen' else 'Clicked' end where id % 2 = 0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := loadertest.Database(t)
			w := newWorld(t, settings{url: url, source: strings.Replace(story.source, "interactions: {", "interactions: {url: \""+url+"\", ", 1)})
			w.sample(t, loadertest.Export{Rows: 400, Start: *day(1), End: *day(11), Bad: map[string]float64{"missing_identity": 0.02, "invalid_tutorial_id": 0.02, "event_too_large": 0.01}})
			w.exec(t, story.sql)
			w.run(t)
			l := w.loader(t)
			report := w.verifyBy(t, l, loader.VerifyOptions{})
			require.True(t, report.Proved, "%+v", report)
			require.Empty(t, report.Days)
			require.Positive(t, report.Rejected)
			w.exec(t, "update candu_test.tutorial_interaction set event_name = 'other' where id = (select max(id) from candu_test.tutorial_interaction)")
			w.exec(t, "update candu_test.screens set segment_id = 'other' where id = (select min(id) from candu_test.screens)")
			require.EqualValues(t, 2, w.verifyBy(t, l, loader.VerifyOptions{}).Changed.Rows)
		})
	}
}
