package event_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/candu-loader/candu-loader/loader/event"
)

var namespace = uuid.MustParse("6f1c2d3e-4a5b-4c6d-8e7f-901a2b3c4d5e")

var kinds = map[string]event.Kind{"view": event.View, "interaction": event.Interacted}

func TestMessageID_Vectors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ id, at, want string }{
		{"1", "2023-10-27T00:00:00Z", "018b6e6e-3c00-8f11-8b63-56b8634bb70d"},
		{"12345", "2026-01-02T03:04:05.678901Z", "019b7ca9-8f2e-8833-8506-7dfc5e7c9046"},
	} {
		at, err := time.Parse(time.RFC3339Nano, c.at)
		require.NoError(t, err)
		require.Equal(t, c.want, event.MessageID(namespace, c.id, at))
	}
}

func genTime(t *rapid.T, label string) time.Time {
	return time.UnixMicro(rapid.Int64Range(0, 253402300799999999).Draw(t, label)).UTC()
}

func TestMessageID_IsUUIDOfTimeAndID(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		at, id := genTime(t, "at"), rapid.String().Draw(t, "id")
		text := event.MessageID(namespace, id, at)
		u, err := uuid.Parse(text)
		require.NoError(t, err)
		require.Equal(t, text, u.String(), "lower case, canonical")
		require.EqualValues(t, 8, u.Version())
		require.Equal(t, uuid.RFC4122, u.Variant())
		millis := int64(u[0])<<40 | int64(u[1])<<32 | int64(u[2])<<24 | int64(u[3])<<16 | int64(u[4])<<8 | int64(u[5])
		require.Equal(t, at.UnixMilli(), millis)
		require.Equal(t, text, event.MessageID(namespace, id, at), "deterministic")

		other := rapid.String().Filter(func(s string) bool { return s != id }).Draw(t, "other")
		require.NotEqual(t, text, event.MessageID(namespace, other, at))
		require.NotEqual(t, text, event.MessageID(uuid.Max, id, at), "the namespace counts")
	})
}

func TestParseMessageID(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		at := genTime(t, "at")
		want := event.MessageID(namespace, rapid.String().Draw(t, "id"), at)
		spelling := rapid.SampledFrom([]string{want, strings.ToUpper(want), "{" + want + "}", strings.ReplaceAll(want, "-", "")}).Draw(t, "spelling")
		id, got, ok := event.ParseMessageID(spelling)
		require.True(t, ok)
		require.Equal(t, want, id)
		require.Equal(t, at.Truncate(time.Millisecond), got)
	})
	for _, text := range []string{"", "12345", namespace.String(), "018b6e6e-3c00-8f11-8b63"} {
		_, _, ok := event.ParseMessageID(text)
		require.False(t, ok, text)
	}
}

func TestIDPrefix(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		at := genTime(t, "at").Add(time.Millisecond)
		id, prefix := event.MessageID(namespace, "1", at), event.IDPrefix(at)
		require.True(t, strings.HasPrefix(id, prefix))
		require.Less(t, event.MessageID(uuid.Max, "2", at.Add(-time.Millisecond)), prefix)
	})
}

func TestMessageID_SortsByTime(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := genTime(t, "a"), genTime(t, "b")
		if a.UnixMilli() == b.UnixMilli() {
			return
		}
		require.Equal(t, a.Before(b), event.MessageID(namespace, "1", a) < event.MessageID(namespace, "2", b))
	})
}

// size stands for that of the one who sends.
func size(e *event.Event) int { return len(e.Row.EventName) }

func valid() event.Interaction {
	return event.Interaction{
		ID: "1", Kind: "interaction", UserID: "u1", TutorialID: "42", EventName: "Upgrade plan Link Clicked",
		OccurredAt: time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC),
	}
}

func TestConvert_Rejects(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change func(in *event.Interaction)
		reason event.Reason
		detail string
	}{
		"blank id":             {func(in *event.Interaction) { in.ID, in.Kind = "\u3000 \t", "x" }, event.MissingID, "id is blank"},
		"no identity":          {func(in *event.Interaction) { in.UserID = "" }, event.MissingIdentity, "user_id and anonymous_id are missing"},
		"blank identity":       {func(in *event.Interaction) { in.UserID, in.AnonymousID = " \t", "\u00a0" }, event.MissingIdentity, "user_id and anonymous_id are missing"},
		"unknown kind":         {func(in *event.Interaction) { in.Kind = "View" }, event.UnknownKind, `kind "View" stands for neither view nor interaction`},
		"no kind":              {func(in *event.Interaction) { in.Kind = "" }, event.UnknownKind, "kind is missing"},
		"no tutorial":          {func(in *event.Interaction) { in.TutorialID = " " }, event.MissingTutorialID, "tutorial_id is missing"},
		"tutorial of letters":  {func(in *event.Interaction) { in.TutorialID = "12a" }, event.InvalidTutorialID, `tutorial_id "12a" is not a whole number of 64 bits`},
		"tutorial with a plus": {func(in *event.Interaction) { in.TutorialID = "+1" }, event.InvalidTutorialID, `tutorial_id "+1" is not a whole number of 64 bits`},
		"tutorial too great":   {func(in *event.Interaction) { in.TutorialID = "9223372036854775808" }, event.InvalidTutorialID, `tutorial_id "9223372036854775808" is not a whole number of 64 bits`},
		"portal of letters":    {func(in *event.Interaction) { in.PortalID = "x" }, event.InvalidPortalID, `portal_id "x" is not a whole number of 64 bits`},
		"no event name":        {func(in *event.Interaction) { in.EventName = "\n " }, event.MissingEventName, "an interaction needs event_name"},
		"no time":              {func(in *event.Interaction) { in.OccurredAt = time.Time{} }, event.InvalidTimestamp, "occurred_at is missing"},
		"before 1970":          {func(in *event.Interaction) { in.OccurredAt = time.Unix(-1, 0) }, event.InvalidTimestamp, "occurred_at is before 1970"},
		"after 9999":           {func(in *event.Interaction) { in.OccurredAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, event.InvalidTimestamp, "occurred_at is after year 9999"},
		"too large":            {func(in *event.Interaction) { in.EventName = strings.Repeat("x", 32_001) }, event.TooLarge, "the event has 32001 bytes, at most 32000 can be sent"},
	}
	rules := event.NewRules(namespace, kinds, true, size)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := valid()
			c.change(&in)
			_, reject := rules.Convert(&in)
			require.Equal(t, &event.Reject{Reason: c.reason, Detail: c.detail}, reject)
		})
	}
}

func TestConvert_WithoutKindColumn(t *testing.T) {
	t.Parallel()
	rules := event.NewRules(namespace, kinds, false, size)
	in := valid()
	in.Kind = ""
	e, reject := rules.Convert(&in)
	require.Nil(t, reject)
	require.Equal(t, event.Interacted, e.Kind)
	in.EventName = "  "
	e, reject = rules.Convert(&in)
	require.Nil(t, reject)
	require.Equal(t, event.View, e.Kind)
}

func TestConvert_LargestEventGoesThrough(t *testing.T) {
	t.Parallel()
	in := valid()
	e, reject := event.NewRules(namespace, kinds, true, func(*event.Event) int { return event.MaxBytes }).Convert(&in)
	require.Nil(t, reject)
	require.Equal(t, event.MaxBytes, e.Size)
}

func BenchmarkConvert(b *testing.B) {
	rules := event.NewRules(namespace, kinds, true, size)
	in := valid()
	in.SegmentID, in.VersionID, in.PortalID = "Everyone", "da39a3ee5e6b4b0d3255bfef95601890afd80709", "3"
	b.ReportAllocs()
	for b.Loop() {
		if _, reject := rules.Convert(&in); reject != nil {
			b.Fatal(reject)
		}
	}
}

func BenchmarkMessageID(b *testing.B) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	b.ReportAllocs()
	for b.Loop() {
		_ = event.MessageID(namespace, "1234567", at)
	}
}
