package ledger

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/event"
)

// samplePage has rows with everything, with nothing that may be missing, and enough
// of them for several chunks.
func samplePage() Page {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	page := Page{Version: "1.2.3", Library: event.Library{Name: "library", Version: "4.5.6"}}
	add := func(id string, e event.Event, row event.Interaction) {
		row.ID = id
		e.MessageID, e.Row, e.At = "id-"+id, &row, at
		page.Mirrored = append(page.Mirrored, Mirrored{Events: []event.Event{e}, SentAt: at.Add(1234567 * time.Nanosecond), ReceivedAt: at.Add(time.Hour)})
	}
	for _, kind := range []event.Kind{event.View, event.Interacted} {
		add("full "+kind.String(), event.Event{Kind: kind, TutorialID: 7, PortalID: -8, HasPortal: true}, event.Interaction{
			UserID: "u", AnonymousID: "a", SegmentID: "Everyone", PortalID: "-8", VersionID: "v\t\\", EventName: "チュートリアル\n\"'",
		})
		add("bare "+kind.String(), event.Event{Kind: kind, TutorialID: 0}, event.Interaction{UserID: "  ", AnonymousID: "a", EventName: "x"})
		add("old "+kind.String(), event.Event{Kind: kind, TutorialID: 1 << 40}, event.Interaction{UserID: "u", EventName: strings.Repeat("ü", 64<<10)})
		page.Mirrored[len(page.Mirrored)-1].Events[0].At = time.Date(1970, 1, 1, 0, 0, 0, 1000, time.UTC)
	}
	return page
}

const mirrorText = `(select string_agg(r, E'\n' order by r) from (
	select (to_jsonb(t) - 'uuid_ts')::text as r from screens t
	union all select (to_jsonb(t) - 'uuid_ts')::text from tracks t
	union all select (to_jsonb(t) - 'uuid_ts')::text from tutorial_interaction t) as rows)`

func groupOf(pages ...*Page) *Group {
	g := &Group{}
	for _, page := range pages {
		g.Add(page)
	}
	return g
}

// What COPY brings in, and what goes through a temporary table, is the same, and one takes over
// from the other where rows are there already.
func TestRecord_BothWaysWriteTheSame(t *testing.T) {
	t.Parallel()
	var texts []string
	for _, resent := range []bool{false, true} {
		b := setup(t)
		b.migrate(t)
		run := b.open(t)
		page := samplePage()
		g := groupOf(&page)
		g.Resent = resent
		require.NoError(t, run.Record(t.Context(), g))
		texts = append(texts, b.one(t, mirrorText))
		require.Equal(t, "0", b.one(t, "select count(*) from tracks where uuid_ts is null or uuid_ts not between now() - interval '1 min' and now()"))

		// A row more, the old ones again, and one of them twice.
		added := page.Mirrored[0].Events[0]
		added.MessageID = "id-added"
		page.Mirrored = append(page.Mirrored, Mirrored{}, Mirrored{Events: []event.Event{added}}, page.Mirrored[0])
		for range 2 {
			require.NoError(t, run.Record(t.Context(), groupOf(&page)))
			require.Equal(t, "4", b.one(t, "select count(*) from screens"))
			require.Equal(t, "3", b.one(t, "select count(*) from tracks"))
			require.Equal(t, "3", b.one(t, "select count(*) from tutorial_interaction where uuid_ts is not null"))
		}
		require.Equal(t, "0", b.one(t, "select count(*) from pg_class where relname like 'loader_incoming%'"))
	}
	require.Equal(t, texts[1], texts[0])
	require.Contains(t, texts[0], `"portal_id": -8`)
}

// The statements are pinned: whoever adds a column sees where it goes.
func TestMirrorTable_Statements(t *testing.T) {
	t.Parallel()
	columns := `context_integration_name, context_integration_version, context_library_name, context_library_version, event, event_text, ` +
		`id, received_at, sent_at, original_timestamp, "timestamp", anonymous_id, user_id, loader_interaction_id`
	require.Equal(t, &mirrorTable{
		name: "tracks", columns: 14,
		copy:           `copy tracks (` + columns + `) from stdin (format binary)`,
		makeIncoming:   `create temporary table loader_incoming_tracks on commit drop as select ` + columns + ` from tracks with no data`,
		copyIncoming:   `copy loader_incoming_tracks (` + columns + `) from stdin (format binary)`,
		insertIncoming: `insert into tracks (` + columns + `) select ` + columns + ` from loader_incoming_tracks on conflict (id) do nothing`,
	}, tracks)
}

// batches returns events of one sample page, n times over, as four requests brought them
// through.
func batches(n int, pick func(i int, sample []event.Event) event.Event) []Mirrored {
	var sample []event.Event
	for _, m := range samplePage().Mirrored {
		sample = append(sample, m.Events...)
	}
	list := make([]Mirrored, 4)
	for i := range n {
		m := &list[i*len(list)/n]
		m.Events = append(m.Events, pick(i, sample))
		m.SentAt, m.ReceivedAt = sample[0].At, sample[0].At
	}
	return list
}

func BenchmarkGroup_Add(b *testing.B) {
	page := &Page{Version: "1.2.3", Mirrored: batches(5_000, func(_ int, sample []event.Event) event.Event { return sample[0] })}
	var g Group
	b.ReportAllocs()
	for b.Loop() {
		g.Reset()
		g.Add(page)
		b.SetBytes(int64(len(g.tables[0].data)))
	}
}

// BenchmarkRecord records pages of 5,000 new rows, two views for each interaction.
func BenchmarkRecord(b *testing.B) {
	bundle := setup(b)
	bundle.migrate(b)
	run := bundle.open(b)
	page := Page{Version: "1.2.3", Mirrored: batches(5_000, func(i int, sample []event.Event) event.Event {
		if i%3 == 2 {
			return sample[3]
		}
		return sample[0]
	})}
	recorded := 0
	var g Group
	b.ReportAllocs()
	for b.Loop() {
		for _, m := range page.Mirrored {
			for i := range m.Events {
				recorded++
				m.Events[i].MessageID = fmt.Sprintf("%036d", recorded)
			}
		}
		g.Reset()
		g.Add(&page)
		if err := run.Record(b.Context(), &g); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(recorded)/b.Elapsed().Seconds(), "rows/s")
}
