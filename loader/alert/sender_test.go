package alert_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/alert"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/secret"
)

var notice = alert.Notice{Source: "Candu_A", Kind: alert.Failing, Title: "Candu_A is failing", Text: "Runs of Candu_A fail.\nLook: candu-loader status Candu_A", At: noon}

// newSender returns a sender that tries again at once, and what it logs. Its limit is none that a busy
// machine reaches: an attempt that is over is counted, and comes again.
func newSender(t *testing.T, ping string, urls ...string) (*alert.Sender, *bytes.Buffer) {
	t.Helper()
	cfg := config.Alerts{PingURL: secret.String(ping)}
	for _, u := range urls {
		cfg.URLs = append(cfg.URLs, secret.String(u))
	}
	var log bytes.Buffer
	s, err := alert.NewSender(cfg, slog.New(slog.NewTextHandler(&log, nil)))
	require.NoError(t, err)
	return s.Hasten(loadertest.Patience, time.Millisecond), &log
}

func answering(code int) func(http.ResponseWriter, *http.Request, string, int) {
	return func(w http.ResponseWriter, _ *http.Request, _ string, _ int) { w.WriteHeader(code) }
}

func TestSend_Webhook(t *testing.T) {
	t.Parallel()
	var plain, structured recorder
	s, log := newSender(t, "", "generic+http://"+plain.listen(t)+"/hook", "generic+http://"+structured.listen(t)+"/hook?template=json")
	require.Equal(t, 2, s.Services())
	require.NoError(t, problem(s.SendEach(t.Context(), notice)))
	require.Equal(t, []request{{"/hook", notice.Title + "\n" + notice.Text}}, plain.requests())
	require.Len(t, structured.requests(), 1)
	require.JSONEq(t, `{"title": "Candu_A is failing", "message": "Runs of Candu_A fail.\nLook: candu-loader status Candu_A",
		"source": "Candu_A", "kind": "failing", "at": "2026-03-01T12:00:00Z"}`, structured.requests()[0].body)
	require.Empty(t, log.String())
}

func TestSend_TriesAgain(t *testing.T) {
	t.Parallel()
	flaky := recorder{answer: func(w http.ResponseWriter, _ *http.Request, _ string, nth int) {
		if nth == 1 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}}
	gone, down := recorder{answer: answering(http.StatusNotFound)}, recorder{answer: answering(http.StatusBadGateway)}
	s, log := newSender(t, "", "generic+http://"+down.listen(t), "generic+http://"+flaky.listen(t), "generic+http://"+gone.listen(t))
	results := s.SendEach(t.Context(), notice)
	require.Len(t, down.requests(), 3)
	require.Len(t, flaky.requests(), 2)
	require.Len(t, gone.requests(), 1, "the next answer would be the same")
	require.Equal(t, alert.Result{Number: 2, Service: "generic"}, results[1])
	require.ErrorContains(t, results[0].Err, "sending to service 1 of alerts.urls (generic): ")
	require.ErrorContains(t, results[2].Err, "404 Not Found")
	require.Equal(t, "Look at the URL and at the service, then: candu-loader alert test", fault.HintOf(results[2].Err))
	require.Contains(t, log.String(), "retrying: ")
}

func TestSend_ServiceThatHangs(t *testing.T) {
	t.Parallel()
	hang := recorder{answer: func(_ http.ResponseWriter, r *http.Request, _ string, _ int) { <-r.Context().Done() }}
	var well recorder
	s, _ := newSender(t, "http://"+hang.listen(t)+"/ping", "generic+http://"+hang.listen(t), "generic+http://"+well.listen(t))
	s.Hasten(300*time.Millisecond, time.Millisecond)
	err := problem(s.SendEach(t.Context(), notice))
	require.ErrorContains(t, err, "sending to service 1 of alerts.urls (generic): no answer in 300ms")
	require.Equal(t, fault.Failed, fault.KindOf(err))
	require.NotEmpty(t, well.requests())
	require.ErrorContains(t, s.Ping(t.Context()), "asking alerts.ping_url: no answer in 300ms")

	t.Log("whoever ends the program does not wait")
	s.Hasten(time.Hour, time.Hour)
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(errors.New("signal: terminated")) })
	require.Equal(t, fault.Interrupted, fault.KindOf(problem(s.SendEach(ctx, notice))))
	require.Equal(t, fault.Interrupted, fault.KindOf(s.Ping(ctx)))
}

func TestSend_PagerDuty(t *testing.T) {
	t.Parallel()
	var duty recorder
	duty.settle(t, "events.pagerduty.com")
	s, _ := newSender(t, "", "pagerduty:///"+strings.Repeat("0a", 16))
	for _, kind := range []alert.Kind{alert.Failing, alert.Recovered, alert.Late, alert.CaughtUp, alert.Rejects, alert.Slots, alert.Test} {
		n := notice
		n.Kind = kind
		require.NoError(t, problem(s.SendEach(t.Context(), n)))
	}
	var told []string
	for _, r := range duty.requests() {
		var event struct {
			Action  string `json:"event_action"`
			Dedup   string `json:"dedup_key"`
			Payload struct{ Summary, Severity, Source string }
		}
		require.NoError(t, json.Unmarshal([]byte(r.body), &event))
		require.Equal(t, notice.Title+"\n"+notice.Text, event.Payload.Summary)
		require.Equal(t, "candu-loader Candu_A", event.Payload.Source)
		told = append(told, fmt.Sprintf("%s %s %s", event.Action, event.Dedup, event.Payload.Severity))
	}
	require.Equal(t, []string{
		"trigger candu-loader/Candu_A/failing error", "resolve candu-loader/Candu_A/failing error",
		"trigger candu-loader/Candu_A/late warning", "resolve candu-loader/Candu_A/late error",
		"trigger candu-loader/Candu_A/rejects warning", "trigger candu-loader/Candu_A/missed warning",
		"trigger candu-loader/Candu_A/test info",
	}, told)
}

// It is alone, for its host is that of another test too.
func TestSend_Telegram(t *testing.T) {
	telegram := recorder{answer: func(w http.ResponseWriter, _ *http.Request, _ string, nth int) {
		if nth <= 2 {
			_, _ = w.Write([]byte(`{"ok": true}`))
		}
	}}
	telegram.settle(t, "api.telegram.org")
	s, _ := newSender(t, "", "telegram://110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw@telegram?chats=@channel,-100:7&notification=no")
	n := notice
	n.Text = "1 < 2"
	require.NoError(t, problem(s.SendEach(t.Context(), n)))
	requests := telegram.requests()
	require.Len(t, requests, 2)
	require.Equal(t, "/bot110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/sendMessage", requests[0].url)
	require.JSONEq(t, `{"chat_id": "@channel", "text": "<b>Candu_A is failing</b>\n1 &lt; 2", "parse_mode": "HTML",
		"disable_notification": true, "disable_web_page_preview": false}`, requests[0].body)
	require.Contains(t, requests[1].body, `"message_thread_id": 7`)
	require.Error(t, problem(s.SendEach(t.Context(), n)), "whatever answers with nothing is not Telegram")
}

func TestSend_Mail(t *testing.T) {
	t.Parallel()
	address, mail := mailServer(t)
	s, _ := newSender(t, "", "smtp://"+address+"/?from=loader@example.com&to=oncall@example.com&starttls=no&encryption=None")
	require.NoError(t, problem(s.SendEach(t.Context(), notice)))
	text := loadertest.Receive(t, mail, "the mail")
	require.Contains(t, text, "Subject: "+notice.Title)
	require.Contains(t, text, "Look: candu-loader status Candu_A")
}

// hosted are services with secrets in their URLs; %s is the address of a server here.
var hosted = map[string]struct {
	host, url, answer string
	secrets           []string
}{
	"slack":    {"hooks.slack.com", "slack://hook:WNA3PBYV6-F20DUQND3RQ-Webc4MAvoacrpPakR8phF0zi@webhook", "ok", []string{"WNA3PBYV6", "F20DUQND3RQ", "Webc4MAvoacrpPakR8phF0zi"}},
	"discord":  {"discord.com", "discord://Tok3nTok3nTok3n@112233445566", "{}", []string{"Tok3nTok3nTok3n"}},
	"telegram": {"api.telegram.org", "telegram://110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw@telegram?chats=@channel", `{"ok": true}`, []string{"AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"}},
	"pushover": {"api.pushover.net", "pushover://shoutrrr:KzGDORePKggMaC0QOYAMyEEuzJnyUi@u8ser9key7u8ser9key7u8ser9key7", `{"status": 1}`, []string{"KzGDORePKggMaC0QOYAMyEEuzJnyUi", "u8ser9key7u8ser9key7u8ser9key7"}},
	"gotify":   {"", "gotify://%s/AzyoeNS.D4iJLVa?disabletls=yes", `{"id": 1}`, []string{"AzyoeNS.D4iJLVa"}},
	"ntfy":     {"", "ntfy://user:pa55w0rd@%s/my-Topic77?scheme=http", `{"code": 0}`, []string{"pa55w0rd", "Topic77", "dXNlcjpwYTU1dzByZA=="}},
	"generic":  {"", "generic+http://user:p4s@%s/hook/s3cr3t-p4th?key=s3cr3tkey&@authorization=Bearer+h3ad3r", "", []string{"p4s", "s3cr3t", "s3cr3tkey", "h3ad3r"}},
}

func TestSend_SecretsStayInside(t *testing.T) {
	t.Parallel()
	for name, c := range hosted {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// First it works; then the service says all that it knows.
			rec := recorder{answer: func(w http.ResponseWriter, r *http.Request, body string, nth int) {
				if nth == 1 {
					_, _ = w.Write([]byte(c.answer))
					return
				}
				w.WriteHeader(http.StatusBadRequest)
				_, _ = fmt.Fprintf(w, "https://%s%s %v %s %q", r.Host, r.URL, r.Header, body, c.secrets)
			}}
			address := c.url
			if c.host == "" {
				address = fmt.Sprintf(c.url, rec.listen(t))
			} else {
				rec.settle(t, c.host)
			}
			s, log := newSender(t, "", address)
			require.NoError(t, problem(s.SendEach(t.Context(), notice)))
			require.Len(t, rec.requests(), 1)
			require.Regexp(t, "Look(:|%3A)", rec.requests()[0].body+rec.requests()[0].url)
			err := problem(s.SendEach(t.Context(), notice))
			require.Error(t, err)
			for e := err; e != nil; e = errors.Unwrap(e) {
				requireNo(t, c.secrets, fmt.Sprintf("%s %v %+v %#v", e.Error(), e, e, e))
			}
			requireNo(t, c.secrets, log.String())
		})
	}
}

// everywhere has a URL of each service that is reached over HTTP; nowhere does one answer.
var everywhere = []string{
	"bark://:device-key@bark.test", "discord://token@1234", "generic+https://hook.test/x", "gotify://gotify.test/AzyoeNS.D4iJLVa",
	"googlechat://chat.googleapis.com/v1/spaces/FOO/messages?key=bar&token=baz", "ifttt://key/?events=event1", "join://shoutrrr:apikey@join/?devices=device",
	"lark://open.larksuite.com/token", "matrix://:token@matrix.test/?rooms=!a", "mattermost://bot@mattermost.test/token/channel", "notifiarr://apikey123?channel=123456789",
	"ntfy://ntfy.invalid/topic", "opsgenie://opsgenie.test/token", "pagerduty:///0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a", "pushbullet://tokentokentokentokentokentokentoke",
	"pushover://shoutrrr:token@user", "rocketchat://rocket.test/token/channel", "signal://signal.test/+1234567890/+0987654321", "slack://hook:WNA3PBYV6-F20DUQND3RQ-Webc4MAvoacrpPakR8phF0zi@webhook",
	"teams://11111111-4444-4444-8444-cccccccccccc@22222222-4444-4444-8444-cccccccccccc/33333333012222222222333333333344/44444444-4444-4444-8444-cccccccccccc/V2ESyij_gAljSoUQHvZoZYzlpAoAXExyOl26dlf1xHEx05?host=test.webhook.office.com",
	"telegram://110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw@telegram?chats=@channel", "wecom://693axxx6-7aoc-4bc4-97a0-0ec2sifa5aaa",
	"zulip://bot-name%40zulipchat.com:correcthorsebatterystable@zulip.test?stream=foo",
}

// It is alone, for the others make answers for some of the hosts.
func TestSend_NoServiceLies(t *testing.T) {
	s, _ := newSender(t, "", everywhere...)
	for _, r := range s.SendEach(t.Context(), notice) {
		require.Error(t, r.Err, "%s says that it sent what nobody took", r.Service)
	}
}

func requireNo(t *testing.T, secrets []string, text string) {
	t.Helper()
	for _, s := range secrets {
		require.NotContains(t, text, s)
		require.NotContains(t, text, url.QueryEscape(s))
	}
}

func TestNewSender_NamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	cfg := config.Alerts{URLs: []secret.String{
		"slack://hook:Not-A-T0k3n@webhook", "logger://", "sl4ck://hook:s3cr3ttt@webhook", "pagerduty:///s3cr3ttt", "generic://?template=s3cr3ttt",
		"smtp://user:s3cr3ttt@mail.example.com/", "discord+https://discord.com/api/webhooks/s3cr3ttt", "matrix://user:s3cr3ttt@matrix.example.com:99999x/",
		"generic+https://example.com/s3cr3ttt?disabletls=s3cr3ttt",
	}}
	_, err := alert.NewSender(cfg, nil)
	require.Equal(t, fault.Config, fault.KindOf(err))
	require.NotEmpty(t, fault.HintOf(err.(interface{ Unwrap() []error }).Unwrap()[0]))
	requireNo(t, []string{"s3cr3ttt", "T0k3n"}, fmt.Sprintf("%v %+v", err, err))
	for _, want := range []string{
		"reading URL 1 of alerts.urls (slack): ", "URL 3 of alerts.urls (sl4ck): unknown service", "URL 4 of alerts.urls (pagerduty): ",
		"URL 5 of alerts.urls (generic): the URL has no host", "(smtp): ",
	} {
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, err.Error(), "logger")
	t.Log(err)
}

func TestNewSender_ConnectsToNothing(t *testing.T) {
	t.Parallel()
	var home recorder
	_, _ = newSender(t, "http://"+home.listen(t)+"/ping", "matrix://user:password@"+home.listen(t)+"/?disabletls=yes", "ntfy://"+home.listen(t)+"/topic?scheme=http")
	require.Empty(t, home.requests())
}

func TestSend_Log(t *testing.T) {
	t.Parallel()
	s, log := newSender(t, "", "logger://")
	require.NoError(t, problem(s.SendEach(t.Context(), notice)))
	require.Contains(t, log.String(), "Candu_A is failing")
}

func TestPing(t *testing.T) {
	t.Parallel()
	s, _ := newSender(t, "")
	require.False(t, s.Pings())
	require.NoError(t, s.Ping(t.Context()))

	elsewhere := recorder{}
	other := "http://" + elsewhere.listen(t)
	rec := recorder{answer: func(w http.ResponseWriter, r *http.Request, _ string, nth int) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/away"):
			http.Redirect(w, r, other+r.URL.Path, http.StatusFound)
		case strings.HasPrefix(r.URL.Path, "/here"):
			http.Redirect(w, r, "/there", http.StatusFound)
		case nth == 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}}
	address := "http://" + rec.listen(t)
	s, log := newSender(t, address+"/uuid-s3cr3t")
	require.True(t, s.Pings())
	require.NoError(t, s.Ping(t.Context()))
	require.Len(t, rec.requests(), 2)
	require.NotContains(t, log.String(), "s3cr3t")

	s, _ = newSender(t, address+"/here")
	require.NoError(t, s.Ping(t.Context()))
	s, _ = newSender(t, address+"/away/s3cr3t")
	err := s.Ping(t.Context())
	require.ErrorContains(t, err, "302 Found")
	require.NotContains(t, err.Error(), "s3cr3t")
	require.Empty(t, elsewhere.requests())
	s, _ = newSender(t, "http://127.0.0.1:1/s3cr3t")
	err = s.Ping(t.Context())
	require.ErrorContains(t, err, "refused")
	require.NotContains(t, err.Error(), "s3cr3t")
}

// problem joins what went wrong.
func problem(results []alert.Result) error {
	var errs []error
	for _, r := range results {
		errs = append(errs, r.Err)
	}
	return errors.Join(errs...)
}

func TestObserve_TellsAgainWhatReachedNobody(t *testing.T) {
	t.Parallel()
	flaky := recorder{answer: func(w http.ResponseWriter, _ *http.Request, _ string, nth int) {
		if nth == 1 {
			w.WriteHeader(http.StatusForbidden)
		}
	}}
	s, _ := newSender(t, "", "generic+http://"+flaky.listen(t))
	o := alert.Observation{Source: "A", At: noon, Failure: failure(0)}
	state, results := s.Observe(t.Context(), alert.State{}, o, 0)
	require.Error(t, problem(results))
	require.Equal(t, alert.State{}, state)
	for range 2 {
		state, results = s.Observe(t.Context(), state, o, 0)
		require.NoError(t, problem(results))
		require.NotNil(t, state.FailingSince)
		require.Len(t, flaky.requests(), 2)
	}
	t.Log("without a service the state moves on, so that one which is added later hears of nothing old")
	none, _ := newSender(t, "")
	state, results = none.Observe(t.Context(), alert.State{}, o, 0)
	require.NoError(t, problem(results))
	require.NotNil(t, state.FailingSince)
}

func TestObserve_KeepsWhatWasToldAlready(t *testing.T) {
	t.Parallel()
	// The second notice reaches nobody, and the third is not tried.
	failing := recorder{answer: func(w http.ResponseWriter, _ *http.Request, _ string, nth int) {
		if nth == 2 {
			w.WriteHeader(http.StatusForbidden)
		}
	}}
	s, _ := newSender(t, "", "generic+http://"+failing.listen(t))
	o := alert.Observation{Source: "A", At: noon, Failure: failure(0), Lag: new(2 * time.Hour), Rejects: map[string]int64{"x": 1}}
	const lagOver = time.Hour
	state, results := s.Observe(t.Context(), alert.State{}, o, lagOver)
	require.ErrorContains(t, problem(results), "403")
	require.Len(t, failing.requests(), 2)
	require.NotNil(t, state.FailingSince)
	require.Nil(t, state.LateSince)
	require.Nil(t, state.Rejects)
	state, results = s.Observe(t.Context(), state, o, lagOver)
	require.NoError(t, problem(results))
	require.Len(t, failing.requests(), 4)
	require.NotNil(t, state.LateSince)
	require.Equal(t, map[string]int64{"x": 1}, state.Rejects)
}
