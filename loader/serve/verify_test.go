package serve_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/status"
)

const verifying = usual + `
  verify: {schedule: "@every 1s"}
`

func (b *bundle) awaitProof(t *testing.T, what string, is func(status.Proof) bool) (p status.Proof) {
	t.Helper()
	loadertest.Eventually(t, func() bool {
		if s := b.view(t).Sources[0]; s.Proof != nil {
			p = *s.Proof
		}
		return is(p)
	}, what)
	return p
}

// serve verifies by itself. What it found stands on the page, in metrics and in a notice, and a difference
// stays one when it starts anew, whether it verifies then or not.
func TestRun_Verifies(t *testing.T) {
	t.Parallel()
	b := setup(t)
	told := make(chan string, 1000)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		told <- string(text)
	}))
	t.Cleanup(hook.Close)
	alerts := fmt.Sprintf("\nalerts: {urls: [\"generic+%s/hook?template=json\"]}\n", hook.URL)
	notice := func(kind string) (text string) {
		for !strings.Contains(text, `"kind":"`+kind+`"`) {
			text = <-told
		}
		return text
	}
	b.write(t, verifying+alerts)
	stop := b.start(t)
	p := b.awaitProof(t, "a proof", func(p status.Proof) bool { return p.Verdict == ledger.Proved })
	require.Regexp(t, `^proved up to .+, checked just now, for what occurred since `, p.Sentence)
	require.Equal(t, "@every 1s", p.Schedule)
	_, _, page := b.get(t, "/")
	require.Contains(t, page, "Export = mirror + rejects: proved up to ")
	_, _, text := b.get(t, "/metrics")
	require.Contains(t, text, "\ncandu_loader_proved_timestamp_seconds{source=\"Candu_Test\"} 1.")
	for _, class := range []string{"missing", "changed", "doubled", "sent_again", "gone"} {
		require.Contains(t, text, "\ncandu_loader_differences{class=\""+class+"\",source=\"Candu_Test\"} 0")
	}

	b.exec(t, `delete from candu_test.screens where id in (select id from candu_test.screens order by id limit 2)`)
	p = b.awaitProof(t, "a difference", func(p status.Proof) bool { return p.Verdict == ledger.NotProved })
	require.Equal(t, map[string]int64{"missing": 2}, p.Differences)
	_, _, page = b.get(t, "/")
	require.Contains(t, page, "NOT proved: 2 missing, checked ")
	require.Contains(t, page, "<code>candu-loader verify Candu_Test</code>")
	_, _, text = b.get(t, "/metrics")
	require.Contains(t, text, "\ncandu_loader_differences{class=\"missing\",source=\"Candu_Test\"} 2")
	require.Contains(t, notice("not proved"), "Export and mirror of Candu_Test differ: 2 missing.")
	b.exec(t, `delete from candu_test.screens where id = (select min(id) from candu_test.screens)`)
	require.Contains(t, notice("not proved"), "3 missing.", "again when it is another one")
	t.Log("their rows go, too")
	b.exec(t, `delete from candu_interactions i where not exists (
		select from (select loader_interaction_id from candu_test.screens union select loader_interaction_id from candu_test.tracks
			union select interaction_id from candu_test.loader_rejects) m (id) where m.id = i.id::text)`)
	require.Contains(t, notice("proved"), "proved up to ")

	t.Log("the export is away: that is no verdict")
	b.exec(t, "alter table candu_interactions rename to away")
	p = b.awaitProof(t, "a verification that fails", func(p status.Proof) bool { return p.FailedAt != nil })
	require.Equal(t, ledger.Proved, p.Verdict)
	require.Contains(t, p.Sentence, "; the verification just now came to no verdict: ")
	b.exec(t, "alter table away rename to candu_interactions")
	b.awaitProof(t, "the next one", func(p status.Proof) bool { return p.FailedAt == nil && p.Error == "" })

	t.Log("a difference, and another process that does not verify")
	b.exec(t, `delete from candu_test.screens where id = (select min(id) from candu_test.screens)`)
	b.awaitProof(t, "a difference", func(p status.Proof) bool { return p.Verdict == ledger.NotProved })
	require.Error(t, stop())
	b.write(t, usual)
	b.start(t)
	loadertest.Eventually(t, func() bool { return b.view(t).Sources[0].LastSuccess != nil }, "an answer")
	p = *b.view(t).Sources[0].Proof
	require.Regexp(t, `^NOT proved: 1 missing, checked .+; last proved `, p.Sentence)
	require.Empty(t, p.Schedule)
	_, _, text = b.get(t, "/metrics")
	require.Contains(t, text, "\ncandu_loader_differences{class=\"missing\",source=\"Candu_Test\"} 1")
	raw, err := json.Marshal(p)
	require.NoError(t, err)
	require.Contains(t, string(raw), `"verdict":"not proved"`)
}

// A source that others load may be verified here.
func TestRun_VerifiesWhatItDoesNotRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start(t)
	loadertest.Eventually(t, func() bool { return b.view(t).Sources[0].LastSuccess != nil }, "a run")
	b.write(t, strings.Replace(verifying, "  schedule: \"@every 1s\"\n", "", 1))
	b.reload <- struct{}{}
	p := b.awaitProof(t, "a proof", func(p status.Proof) bool { return p.Verdict == ledger.Proved })
	require.Empty(t, b.view(t).Sources[0].Schedule)
	require.NotNil(t, p.NextAt)
}
