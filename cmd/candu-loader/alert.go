package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/alert"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
)

func (a *app) buildAlertCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "alert",
		Short: "Try the services that alerts go to",
		Long: `Alerts tell people when something changes, not on each run: a source began to fail or
works again, is late or has caught up, rejects rows, missed slots. They go to the
services of alerts.urls; alerts.ping_url is asked after each success, for a dead man's
switch.`,
		Example: `  candu-loader alert test`,
	}
	cmd.AddCommand(a.buildAlertTestCmd())
	return cmd
}

func (a *app) buildAlertTestCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "test",
		Short: "Send a test notice to each service, and ask the ping URL",
		Long: `Sends a notice that says it is a test to each service of alerts.urls, asks
alerts.ping_url, and prints a line for each. It needs no database. Ends with 1 if one
of them failed, with 2 if none is configured.`,
		Example: `  candu-loader alert test
  candu-loader alert test --json`,
		Args: cobra.NoArgs,
		RunE: a.configured(func(ctx context.Context, cfg *config.Config, _ []string) error {
			sender, err := alert.NewSender(cfg.Alerts, a.log)
			if err != nil {
				return err
			}
			return a.testAlerts(ctx, cfg, sender)
		}),
	}
}

// alertTest is the result of alert test.
type alertTest struct {
	Title    string         `json:"title"`
	Services []alertService `json:"services"`
	// Ping is nil without a ping URL.
	Ping *alertPing `json:"ping"`
}

type alertService struct {
	Number  int        `json:"number"`
	Service string     `json:"service"`
	Sent    bool       `json:"sent"`
	Error   *jsonError `json:"error"`
}

type alertPing struct {
	Answered bool       `json:"answered"`
	Error    *jsonError `json:"error"`
}

func (a *app) testAlerts(ctx context.Context, cfg *config.Config, sender *alert.Sender) error {
	if sender.Services() == 0 && !sender.Pings() {
		return fault.New(fault.Config, "testing alerts: %s has neither alerts.urls nor alerts.ping_url", cfg.Path).
			WithHint("Add some of these; %s has the form of each service:\nalerts:\n  urls:\n    - slack://hook:TOKEN@webhook\n    - generic+https://example.com/hook?template=json\n  lag_over: 2h\n  ping_url: https://hc-ping.com/UUID", alert.Services)
	}
	notice := testNotice(time.Now())
	result := alertTest{Title: notice.Title, Services: []alertService{}}
	failed, total := 0, 0
	line := func(name, well string, err error) {
		total++
		if err != nil {
			failed++
			well = cause(err)
		}
		if !a.json {
			a.printf("%s: %s\n", name, well)
		}
	}
	for _, r := range sender.SendEach(ctx, notice) {
		line(fmt.Sprintf("%d %s", r.Number, r.Service), "sent", r.Err)
		result.Services = append(result.Services, alertService{r.Number, r.Service, r.Err == nil, asJSON(r.Err)})
	}
	if sender.Pings() {
		err := sender.Ping(ctx)
		line("ping", "answered", err)
		result.Ping = &alertPing{err == nil, asJSON(err)}
	}
	if a.json {
		if err := a.printJSON(result); err != nil {
			return err
		}
	}
	switch {
	case ctx.Err() != nil:
		return fault.Wrap(fault.Interrupted, context.Cause(ctx), "testing alerts")
	case failed > 0:
		return fault.New(fault.Failed, "testing alerts: %d of %d failed", failed, total).
			WithHint("Look at the URLs and at the services; %s has the form of each.", alert.Services)
	}
	return nil
}

func testNotice(now time.Time) alert.Notice {
	host, err := os.Hostname()
	if err != nil {
		host = "a host without a name"
	}
	return alert.Notice{
		Source: "test", Kind: alert.Test, At: now,
		Title: fmt.Sprintf("Test of candu-loader %s on %s", loader.Version, host),
		Text:  fmt.Sprintf("This is a test, nothing is wrong: candu-loader %s on %s can reach you. Somebody ran: candu-loader alert test", loader.Version, host),
	}
}

// cause is an error without the part that the line says already.
func cause(err error) string {
	if e, ok := errors.AsType[*fault.Error](err); ok {
		return cmp.Or(e.Err, err).Error()
	}
	return err.Error()
}
