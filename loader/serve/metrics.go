package serve

import (
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/segment"
	"github.com/candu-loader/candu-loader/loader/status"
	"github.com/candu-loader/candu-loader/loader/statuspage"
)

const namespace = "candu_loader"

// metrics are what this process counts itself. What the database knows is read when
// Prometheus asks, see gauges.
type metrics struct {
	registry *prometheus.Registry

	rows, events, slots, runs *prometheus.CounterVec
	reloads, alerts           *prometheus.CounterVec
	runSeconds, pageSeconds   *prometheus.HistogramVec

	mu sync.Mutex
	// counted is what was counted of the run under way, by source.
	counted map[string]ledger.Counters
}

func newMetrics() *metrics {
	registry := prometheus.NewRegistry()
	factory := promauto.With(registry)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return factory.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	}
	m := &metrics{
		registry: registry,
		rows:     counter("rows_read_total", "Rows read from the export by scheduled runs.", "source"),
		events:   counter("events_total", "Rows by what became of them in scheduled runs: sent, already_delivered, rejected or rejected_before (by an earlier run).", "source", "outcome"),
		slots:    counter("slots_total", "Slots by how they ended: ran, caught_up, skipped_overlap or missed.", "source", "status"),
		runs:     counter("runs_total", "Attempts at scheduled runs by how they ended: succeeded, failed or interrupted.", "source", "status"),
		reloads:  counter("config_reloads_total", "Reloads of the configuration: accepted or refused.", "result"),
		alerts:   counter("alerts_total", "Notices to the services of alerts.urls: sent or failed.", "result"),
		runSeconds: factory.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "run_duration_seconds", Help: "How long scheduled runs took.",
			Buckets: []float64{0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600},
		}, []string{"source"}),
		pageSeconds: factory.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "page_duration_seconds",
			Help:    "How long a step of a page took: read (the SELECT on the export) or record (the transaction in the warehouse).",
			Buckets: []float64{0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60},
		}, []string{"source", "step"}),
		counted: map[string]ledger.Counters{},
	}
	factory.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "Always 1; the labels say which build this is.",
		ConstLabels: prometheus.Labels{"version": loader.Version, "goversion": runtime.Version()},
	}).Set(1)
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	know(m.reloads, nil, "accepted", "refused")
	know(m.alerts, nil, "sent", "failed")
	return m
}

// know makes the series that a metric will have, so that they begin at 0 and not with the first
// failure: a rate over a series that was not there is nothing.
func know(metric *prometheus.CounterVec, labels []string, values ...string) {
	for _, value := range values {
		metric.WithLabelValues(append(labels, value)...)
	}
}

// know makes the series of a source.
func (m *metrics) know(src *config.Source) {
	source := []string{src.Nickname}
	know(m.rows, nil, src.Nickname)
	m.runSeconds.WithLabelValues(src.Nickname)
	know(m.events, source, "sent", "already_delivered", "rejected", "rejected_before")
	know(m.slots, source, string(ledger.SlotRan), string(ledger.SlotCaughtUp), string(ledger.SlotSkippedOverlap), string(ledger.SlotMissed))
	know(m.runs, source, "succeeded", "failed", "interrupted")
}

// count adds what a run has done since it was counted last.
func (m *metrics) count(src *config.Source, now ledger.Counters, over bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.counted[src.Nickname]
	m.counted[src.Nickname] = now
	if over {
		delete(m.counted, src.Nickname)
	}
	m.rows.WithLabelValues(src.Nickname).Add(float64(max(0, now.RowsRead-before.RowsRead)))
	for outcome, n := range map[string]int64{
		"sent":              now.Sent - before.Sent,
		"already_delivered": now.AlreadyDelivered - before.AlreadyDelivered,
		"rejected":          now.Rejected - before.Rejected,
		"rejected_before":   now.RejectedBefore - before.RejectedBefore,
	} {
		m.events.WithLabelValues(src.Nickname, outcome).Add(float64(max(0, n)))
	}
}

// ended counts an attempt at a run.
func (m *metrics) ended(src *config.Source, s loader.Summary, err error) {
	m.count(src, s.Counters, true)
	if fault.Is(err, fault.Busy) {
		return
	}
	m.runs.WithLabelValues(src.Nickname, string(s.Status)).Inc()
	if s.RunID > 0 {
		m.runSeconds.WithLabelValues(src.Nickname).Observe(s.Seconds)
	}
}

// gauges are read when Prometheus asks: from the last view of the sources, and from
// what was sent.
type gauges struct {
	view    statuspage.View
	sending segment.Stats
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

var (
	lagSeconds    = desc("lag_seconds", "Time since a run last came to the end of what it could see in the export.", "source")
	pendingRows   = desc("pending_rows", "About how many rows of the export are waiting to be loaded.", "source")
	watermarkTime = desc("watermark_timestamp_seconds", "The time of the watermark.", "source")
	completeTime  = desc("complete_until_timestamp_seconds", "The moment up to which the mirror is complete, as far as can be known.", "source")
	successTime   = desc("last_success_timestamp_seconds", "When a run last succeeded.", "source")
	nextSlotTime  = desc("next_slot_timestamp_seconds", "The next slot of the schedule.", "source")
	failing       = desc("failing", "1 if the last run failed or the source's state can't be read.", "source")
	rejects       = desc("rejects", "Rows in loader_rejects.", "source", "reason")
	provedTime    = desc("proved_timestamp_seconds", "When it was last proved that export = mirror + rejects, up to the watermark of that time.", "source")
	differences   = desc("differences", "Rows by which export and mirror differed when they were last verified, by class; gone from the export alone is allowed.", "source", "class")
	requests      = desc("batches_total", "Requests to Segment by HTTP status; 0 = no answer.", "status")
	retries       = desc("retries_total", "Requests to Segment that were repeated.")
	connections   = desc("connections_total", "Connections opened to Segment.")
	limited       = desc("rate_limit_wait_seconds_total", "How long senders waited for the rate limit, added up.")
	pausedSeconds = desc("paused_seconds", "How long the pause will last that Segment asked for; 0 = none.")
)

// Describe implements prometheus.Collector: it is unchecked, for sources come and go
// with the config.
func (gauges) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (g gauges) Collect(out chan<- prometheus.Metric) {
	put := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	for _, s := range g.view.Sources {
		gauge := func(d *prometheus.Desc, v float64, labels ...string) {
			put(d, prometheus.GaugeValue, v, append([]string{s.Nickname}, labels...)...)
		}
		moment := func(d *prometheus.Desc, t *time.Time) {
			if t != nil {
				gauge(d, float64(t.UnixMilli())/1000)
			}
		}
		if s.LagSeconds != nil {
			gauge(lagSeconds, *s.LagSeconds)
		}
		if s.WaitingRows != nil {
			gauge(pendingRows, float64(*s.WaitingRows))
		}
		moment(watermarkTime, s.WatermarkAt)
		moment(completeTime, s.CompleteUntil)
		moment(nextSlotTime, s.NextSlot)
		moment(successTime, s.SucceededAt())
		gauge(failing, map[bool]float64{true: 1}[s.State == status.Failing])
		for _, r := range s.Rejects {
			gauge(rejects, float64(r.Count), r.Reason)
		}
		if s.Proof != nil && s.Proof.Verdict != "" {
			moment(provedTime, s.Proof.ProvedAt)
			for class, rows := range s.Proof.ByClass() {
				gauge(differences, float64(rows), class)
			}
		}
	}
	for status, n := range g.sending.Requests {
		put(requests, prometheus.CounterValue, float64(n), strconv.Itoa(status))
	}
	put(retries, prometheus.CounterValue, float64(g.sending.Retries))
	put(connections, prometheus.CounterValue, float64(g.sending.Connections))
	put(limited, prometheus.CounterValue, g.sending.Limited.Seconds())
	put(pausedSeconds, prometheus.GaugeValue, max(0, time.Until(g.sending.PausedUntil).Seconds()))
}
