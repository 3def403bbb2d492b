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
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/matrix"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/telegram"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/incident/pagerduty"
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
	log    *slog.Logger
}

func newService(number int, raw secret.String, log *slog.Logger) *service {
	name, _, _ := strings.Cut(raw.Reveal(), ":")
	name, _, _ = strings.Cut(name, "+")
	return &service{number: number, name: strings.ToLower(name), url: raw, log: log}
}

// send makes one attempt. The library takes no context, so when it is over the attempt
// is left to itself, until its own limit. That is why each has a service of its own: they
// are not safe for concurrent use.
func (s *service) send(ctx context.Context, n Notice) error {
	ended := make(chan error, 1)
	go func() {
		ended <- guarded(func() error {
			opened, err := s.open(false)
			if err != nil {
				return err
			}
			text, params := s.message(opened, n)
			return trouble(opened.Send(text, &params))
		})
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// errForm stands for what the library says of a URL, for it repeats it.
var errForm = errors.New("the URL is not of the form that the service takes")

// open makes a service of the library. Its router would do so too, but sends to PagerDuty
// without a host, and logs in to Matrix only to look at its URL.
func (s *service) open(onlyLook bool) (types.Service, error) {
	var services router.ServiceRouter
	u, err := url.Parse(s.url.Reveal())
	if err != nil {
		return nil, errForm
	}
	made, err := services.NewService(s.name)
	if err != nil {
		return nil, errors.New("unknown service")
	}
	if u.Scheme != s.name {
		custom, ok := made.(types.CustomURLService)
		if !ok {
			return nil, fmt.Errorf("%s takes no URL of the form %s+https", s.name, s.name)
		}
		if u, err = custom.GetConfigURLFromCustom(u); err != nil {
			return nil, errForm
		}
	}
	switch made := made.(type) {
	case *generic.Service:
		if u.Host == "" {
			return nil, errors.New("the URL has no host")
		}
	case *pagerduty.Service:
		// What the library says are the defaults, and leaves empty.
		u.Host = net.JoinHostPort(cmp.Or(u.Hostname(), "events.pagerduty.com"), cmp.Or(u.Port(), "443"))
	case *matrix.Service:
		if onlyLook {
			if format.GetServiceConfig(made).SetURL(u) != nil {
				return nil, errForm
			}
			return made, nil
		}
	}
	if err := made.Initialize(u, s.logger()); err != nil {
		return nil, errForm
	}
	if telegram, ok := made.(*telegram.Service); ok {
		return bot{telegram}, nil
	}
	return made, nil
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
			err = errors.New("the service panicked")
		}
	}()
	return do()
}
