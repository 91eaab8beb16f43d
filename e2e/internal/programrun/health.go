package programrun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// maxReply is more than a page of metrics ever is.
const maxReply = 8 << 20

// Readyz asks the program whether it is ready and returns status and body.
func (p *Program) Readyz(ctx context.Context) (code int, body string, err error) {
	return p.get(ctx, "/readyz")
}

// Healthz asks the program whether it is alive and returns status and body.
func (p *Program) Healthz(ctx context.Context) (code int, body string, err error) {
	return p.get(ctx, "/healthz")
}

// readyEvery is how often a state is asked for that nothing announces.
const readyEvery = 25 * time.Millisecond

// Ready returns when the program says that it is ready.
func (p *Program) Ready(ctx context.Context) error {
	return p.WaitReadyz(ctx, func(code int, _ string) bool { return code == http.StatusOK })
}

// WaitReadyz returns when what /readyz answers is what is waited for. When ctx or the
// program ends first, the error tells the last answer.
func (p *Program) WaitReadyz(ctx context.Context, match func(code int, body string) bool) error {
	ticker := time.NewTicker(readyEvery)
	defer ticker.Stop()
	for {
		code, body, err := p.Readyz(ctx)
		if err == nil && match(code, body) {
			return nil
		}
		last := fmt.Sprintf("it answered %d %q", code, body)
		if err != nil {
			last = err.Error()
		}
		select {
		case <-ticker.C:
		case <-p.exited:
			return fmt.Errorf("waiting for readiness: %w; last, %s; its last lines: %s", errEnded, last, lastLines(p.Output(), 3))
		case <-ctx.Done():
			return fmt.Errorf("waiting for readiness: %w; last, %s", context.Cause(ctx), last)
		}
	}
}

// Metrics returns every series that the program shows, by its name with its labels in
// order: `up`, `requests_total{code="200", verb="get"}`. A histogram shows as its
// buckets, sum and count.
func (p *Program) Metrics(ctx context.Context) (map[string]float64, error) {
	code, body, err := p.get(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	if code != http.StatusOK {
		return nil, fmt.Errorf("reading metrics: status %d: %q", code, body)
	}
	series, err := ParseMetrics(body)
	if err != nil {
		return nil, fmt.Errorf("reading metrics of %s: %w", p.name, err)
	}
	return series, nil
}

// ParseMetrics reads a page of metrics as [Program.Metrics] does, the page of another
// program too.
func ParseMetrics(page string) (map[string]float64, error) {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(page))
	if err != nil {
		return nil, fmt.Errorf("parsing metrics: %w", err)
	}
	samples, err := expfmt.ExtractSamples(&expfmt.DecodeOptions{}, slices.Collect(maps.Values(families))...)
	if err != nil {
		return nil, fmt.Errorf("parsing metrics: %w", err)
	}
	series := make(map[string]float64, len(samples))
	for _, sample := range samples {
		series[sample.Metric.String()] = float64(sample.Value)
	}
	return series, nil
}

func (p *Program) get(ctx context.Context, path string) (code int, body string, err error) {
	url := "http://" + p.address + path
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, "", fmt.Errorf("asking %s for %q: %w", p.name, path, err)
	}
	response, err := p.client.Do(request)
	if err != nil {
		return 0, "", fmt.Errorf("asking %s for %q: %w", p.name, path, err)
	}
	content, err := io.ReadAll(io.LimitReader(response.Body, maxReply))
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return 0, "", fmt.Errorf("reading %q of %s: %w", path, p.name, err)
	}
	return response.StatusCode, string(content), nil
}
