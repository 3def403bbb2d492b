package event_test

import (
	"encoding/json"
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
		"too large":            {func(in *event.Interaction) { in.EventName = strings.Repeat("<", 6000) }, event.TooLarge, "the event has 36200 bytes, at most 32000 can be sent"},
	}
	rules := event.NewRules(namespace, kinds, true, nil)
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
	rules := event.NewRules(namespace, kinds, false, nil)
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
	rules := event.NewRules(namespace, kinds, true, nil)
	in := valid()
	in.EventName = "x"
	e, reject := rules.Convert(&in)
	require.Nil(t, reject)
	in.EventName = strings.Repeat("x", event.MaxBytes-e.Size+1)
	e, reject = rules.Convert(&in)
	require.Nil(t, reject)
	require.Equal(t, event.MaxBytes, e.Size)
	in.EventName += "x"
	_, reject = rules.Convert(&in)
	require.NotNil(t, reject)
	require.Equal(t, event.TooLarge, reject.Reason)
}

// wire is what analytics-go marshals: the message with its type, which Enqueue
// sets.
func wire(t require.TestingT, rules *event.Rules, e *event.Event) []byte {
	body, err := json.Marshal(rules.Message(e, map[string]any{}))
	require.NoError(t, err)
	typ := "track"
	if e.Kind == event.View {
		typ = "screen"
	}
	return append([]byte(`{"type":"`+typ+`",`), body[1:]...)
}

func TestSize_IsThatOfTheJSON(t *testing.T) {
	t.Parallel()
	texts := rapid.OneOf(
		rapid.String(),
		rapid.SampledFrom([]string{"", " ", "<a href=\"x\">&</a>", "\u2028\u2029", "\b\f\n\r\t\x01\x1f\x7f", "日本語 😀", "a\\b", "\xff", "é"}),
		rapid.StringMatching(`[a-z<>&"\\ ]{0,20}`),
	)
	rapid.Check(t, func(t *rapid.T) {
		var integrations map[string]any
		if rapid.Bool().Draw(t, "integrations") {
			integrations = map[string]any{"All": false, "Mixpanel": map[string]any{"x": texts.Draw(t, "i")}}
		}
		rules := event.NewRules(namespace, kinds, true, integrations)
		in := event.Interaction{
			ID: "1", Kind: rapid.SampledFrom([]string{"view", "interaction"}).Draw(t, "kind"),
			UserID: texts.Draw(t, "user"), AnonymousID: texts.Draw(t, "anonymous"),
			TutorialID: rapid.StringMatching(`-?[0-9]{1,18}`).Draw(t, "tutorial"), SegmentID: texts.Draw(t, "segment"),
			PortalID:  rapid.SampledFrom([]string{"", "0", "-1", "007", "9223372036854775807"}).Draw(t, "portal"),
			VersionID: texts.Draw(t, "version"), EventName: texts.Draw(t, "name"), OccurredAt: genTime(t, "at"),
		}
		e, reject := rules.Convert(&in)
		if reject != nil {
			return
		}
		require.Len(t, wire(t, rules, &e), e.Size)
	})
}

func TestMessage_Golden(t *testing.T) {
	t.Parallel()
	rules := event.NewRules(namespace, kinds, true, map[string]any{"All": true})
	in := valid()
	in.AnonymousID, in.SegmentID, in.PortalID, in.VersionID = "a1", "Everyone", "7", "8f14e45f"
	e, reject := rules.Convert(&in)
	require.Nil(t, reject)
	require.JSONEq(t, `{"type":"track","messageId":"019b7ca9-8f2e-8f11-8b63-56b8634bb70d","anonymousId":"a1","userId":"u1",
		"event":"tutorial.interaction","timestamp":"2026-01-02T03:04:05.678901Z","integrations":{"All":true},
		"properties":{"tutorialId":42,"segmentId":"Everyone","portalId":7,"versionId":"8f14e45f","eventName":"Upgrade plan Link Clicked"}}`,
		string(wire(t, rules, &e)))

	in = event.Interaction{ID: "1", Kind: "view", AnonymousID: "a1", TutorialID: "42", SegmentID: " ", EventName: "ignored", OccurredAt: in.OccurredAt}
	e, reject = rules.Convert(&in)
	require.Nil(t, reject)
	require.JSONEq(t, `{"type":"screen","messageId":"019b7ca9-8f2e-8f11-8b63-56b8634bb70d","anonymousId":"a1","name":"tutorial.view",
		"timestamp":"2026-01-02T03:04:05.678901Z","integrations":{"All":true},"properties":{"tutorialId":42}}`,
		string(wire(t, rules, &e)))
}

func BenchmarkConvert(b *testing.B) {
	rules := event.NewRules(namespace, kinds, true, nil)
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
