package config

import (
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/candu-loader/candu-loader/loader/schedule"
	"github.com/candu-loader/candu-loader/loader/secret"
)

// What serve needs beside a run: the schedule, HTTP and alerts.

func (d *decoder) http(v value, h *HTTP) {
	var password string
	present := d.keys(v, map[string]func(value){
		"listen": d.setText(&h.Listen), "user": d.setText(&h.User), "password_file": d.setFile(&password),
	})
	h.Password = secret.String(password)
	if at, ok := present["listen"]; ok {
		if _, _, err := net.SplitHostPort(h.Listen); err != nil {
			d.problem(at, "For example "+DefaultListen, "%q: expected HOST:PORT", h.Listen)
		}
	}
	user, hasUser := present["user"]
	file, hasFile := present["password_file"]
	switch {
	case hasUser && strings.Contains(h.User, ":"):
		d.problem(user, "Take a name without a colon (RFC 7617).", "%q has a colon", h.User)
	case hasUser && !hasFile:
		d.problem(user, "Add:  password_file: /run/secrets/candu-loader-http", "stands without password_file")
	case hasFile && !hasUser:
		d.problem(file, "Add:  user: operator", "stands without user")
	case hasUser && h.User == "":
		d.problem(user, "Write a name, or take user and password_file out.", "is empty")
	}
}

func (d *decoder) alerts(v value, a *Alerts) {
	var urls []string
	var file, ping, pingFile string
	present := d.keys(v, map[string]func(value){
		"urls": d.setTexts(&urls), "urls_file": d.setFile(&file), "lag_over": d.setDuration(&a.LagOver, time.Second),
		"ping_url": d.setText(&ping), "ping_url_file": d.setFile(&pingFile),
	})
	if at, ok := present["urls"]; ok && file != "" {
		d.problem(at, "Take one of them out.", "stands beside urls_file")
	}
	for line := range strings.Lines(file) {
		urls = append(urls, strings.TrimSpace(line))
	}
	at, ok := present["urls"]
	if !ok {
		at = present["urls_file"]
	}
	for _, text := range urls {
		if text == "" {
			continue
		}
		// It may hold a token, so it is not repeated.
		if u, err := url.Parse(text); err != nil || u.Scheme == "" {
			d.problem(at, "For example slack://hook:...@webhook or generic+https://example.com/hook; the README lists more.", "one is not a URL of a service")
			continue
		}
		a.URLs = append(a.URLs, secret.String(text))
	}
	a.PingURL = secret.String(d.either(present, "ping_url", ping, pingFile))
	if a.PingURL == "" {
		return
	}
	if u, err := url.Parse(a.PingURL.Reveal()); err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
		at, ok := present["ping_url"]
		if !ok {
			at = present["ping_url_file"]
		}
		d.problem(at, "For example https://hc-ping.com/<uuid>", "is not an http or https URL")
	}
}

func (d *decoder) schedule(at value, text string, location *time.Location) *schedule.Schedule {
	s, err := schedule.Parse(text, location)
	switch {
	case err == nil:
	case strings.Contains(text, "TZ="):
		d.problem(at, "Write it as `timezone:`.", "%s", err)
	default:
		d.problem(at, `Five fields, minute hour day month weekday, for example "15 * * * *" (each hour at 15), or @hourly, @daily, @every 30m.`, "%s", err)
	}
	return s
}
