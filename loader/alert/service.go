package alert

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nicholas-fedor/shoutrrr/pkg/format"
	"github.com/nicholas-fedor/shoutrrr/pkg/router"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/specialized/generic"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"

	"github.com/candu-loader/candu-loader/loader/secret"
)

// attemptLimit is how long one attempt at one service may take.
const attemptLimit = 10 * time.Second

// Some of the library's services ask through http.DefaultClient and take no context, so
// that a server which never answers would hold a goroutine for ever. The switch is thrown
// here, before anything can use the client.
func init() {
	if http.DefaultClient.Timeout == 0 {
		http.DefaultClient.Timeout = attemptLimit
	}
}

// service is one of alerts.urls.
type service struct {
	number int // from 1
	name   string
	url    secret.String
	scrub  scrubber
	log    *slog.Logger
}

func newService(number int, raw secret.String, log *slog.Logger) *service {
	name, _, _ := strings.Cut(raw.Reveal(), ":")
	name, _, _ = strings.Cut(name, "+")
	return &service{number: number, name: strings.ToLower(name), url: raw, scrub: newScrubber(raw), log: log}
}

// validate asks the library whether the URL will do. It connects to nothing.
func (s *service) validate() error {
	return s.scrub.error(guarded(func() error {
		_, err := s.open(true)
		return err
	}))
}

// send makes one attempt. The library takes no context, so when it is over the attempt
// is left to itself, until its own limit. That is why each has a service of its own: they
// are not safe for concurrent use.
func (s *service) send(ctx context.Context, n Notice) error {
	ended := make(chan error, 1)
	go func() {
		ended <- s.scrub.error(guarded(func() error {
			opened, err := s.open(false)
			if err != nil {
				return err
			}
			text, params := s.message(opened, n)
			return opened.Send(text, &params)
		}))
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// open makes a service of the library. Its router would do so too, but without the
// reason if it can't. Matrix logs in while it is made, so to look at its URL is another
// thing.
func (s *service) open(onlyLook bool) (types.Service, error) {
	var services router.ServiceRouter
	_, u, err := services.ExtractServiceName(s.url.Reveal())
	if err != nil {
		return nil, err
	}
	made, err := services.NewService(s.name)
	if err != nil {
		return nil, err
	}
	if u.Scheme != s.name {
		custom, ok := made.(types.CustomURLService)
		if !ok {
			return nil, fmt.Errorf("%s takes no URL of the form %s+https", s.name, s.name)
		}
		if u, err = custom.GetConfigURLFromCustom(u); err != nil {
			return nil, err
		}
	}
	mend(s.name, u)
	if onlyLook && s.name == "matrix" {
		return made, format.GetServiceConfig(made).SetURL(u)
	}
	if err := made.Initialize(u, s.logger()); err != nil {
		return nil, err
	}
	return made, checkHost(s.name, u)
}

// mend writes the host and the port that the library says are the defaults of PagerDuty,
// and leaves empty.
func mend(name string, u *url.URL) {
	if name != "pagerduty" {
		return
	}
	u.Host = net.JoinHostPort(cmp.Or(u.Hostname(), "events.pagerduty.com"), cmp.Or(u.Port(), "443"))
}

// checkHost catches what the library finds only when it sends.
func checkHost(name string, u *url.URL) error {
	if name == generic.Scheme && u.Host == "" {
		return errors.New("the URL has no host")
	}
	return nil
}

// titled are the services that show a title beside the text.
var titled = map[string]bool{
	"bark": true, "discord": true, "gotify": true, "join": true, "lark": true, "ntfy": true, "opsgenie": true, "pushbullet": true,
	"pushover": true, "slack": true, "smtp": true, "teams": true, "telegram": true, "zulip": true,
}

// message returns a notice as the service takes it.
func (s *service) message(opened types.Service, n Notice) (string, types.Params) {
	params := types.Params{}
	inText := !titled[s.name]
	if hook, ok := opened.(*generic.Service); ok && hook.Config.Template != "" {
		inText = false
		params["source"], params["kind"], params["at"] = n.Source, string(n.Kind), n.At.UTC().Format(time.RFC3339)
	}
	if s.name == "pagerduty" {
		incident(n, params)
	}
	if inText {
		return n.Title + "\n" + n.Text, params
	}
	params.SetTitle(n.Title)
	return n.Text, params
}

// incident makes PagerDuty close the incident of a source that it opened before.
func incident(n Notice, params types.Params) {
	about := n.Kind
	switch n.Kind {
	case Recovered:
		about, params["action"] = Failing, "resolve"
	case CaughtUp:
		about, params["action"] = Late, "resolve"
	case Late, Rejects, Slots:
		params["severity"] = "warning"
	case Test:
		params["severity"] = "info"
	}
	params["source"] = "candu-loader " + n.Source
	params["dedup_key"] = fmt.Sprintf("candu-loader/%s/%s", n.Source, about)
}

// logger is nil, silence, but for the service that is a log: the others would write
// what they ask and are answered.
func (s *service) logger() types.StdLogger {
	if s.name == "logger" {
		return noticeLog{s.log}
	}
	return nil
}

// noticeLog is a logger of the library.
type noticeLog struct{ log *slog.Logger }

func (l noticeLog) Print(args ...any) { l.log.Info("notice", "text", fmt.Sprint(args...)) }
func (l noticeLog) Printf(f string, args ...any) {
	l.log.Info("notice", "text", fmt.Sprintf(f, args...))
}
func (l noticeLog) Println(args ...any) { l.Print(args...) }

// guarded keeps the process alive should the library panic: no alert is worth a run.
func guarded(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the service panicked: %v", p)
		}
	}()
	return do()
}
