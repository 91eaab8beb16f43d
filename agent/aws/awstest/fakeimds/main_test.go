package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ebbtide/ebbtide/agent/aws/awstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAWrongCommandLineIsExplained(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args []string
		want []string
	}{
		"an address of all interfaces":    {[]string{"--listen", "0.0.0.0:1338"}, []string{"--listen", "--allow-non-loopback"}},
		"an address of all, unnamed":      {[]string{"--listen", ":1338"}, []string{"--listen", "--allow-non-loopback"}},
		"a name":                          {[]string{"--listen", "localhost:1338"}, []string{"--listen", "--allow-non-loopback"}},
		"an address without port":         {[]string{"--listen", "127.0.0.1"}, []string{"127.0.0.1:1338"}},
		"a control address of others":     {[]string{"--control", "192.0.2.1:1339"}, []string{"--control", "--allow-non-loopback"}},
		"a fault that does not exist":     {[]string{"--fault", "gremlins"}, []string{"--fault", "gremlins", "hanging-token"}},
		"a flag that does not exist":      {[]string{"--faults"}, []string{"-faults"}},
		"an argument":                     {[]string{"now"}, []string{`"now"`}},
		"a duration that is none":         {[]string{"--interrupt-after", "soon"}, []string{"soon", "interrupt-after"}},
		"a negative duration":             {[]string{"--notice", "-2m"}, []string{"--notice"}},
		"a taking back of nothing":        {[]string{"--take-back-after", "2m"}, []string{"--take-back-after", "--interrupt-after"}},
		"a length of no fault":            {[]string{"--fault-for", "2m"}, []string{"--fault-for", "--fault"}},
		"several mistakes, each reported": {[]string{"--listen", "x", "--fault", "y", "z"}, []string{"--listen", "--fault", `"z"`}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, stop := context.WithCancel(t.Context())
			stop() // it would serve until then
			var stdout, stderr bytes.Buffer
			if code := run(ctx, tc.args, &stdout, &stderr); code != 2 {
				t.Errorf("exit code %d, want 2", code)
			}
			for _, want := range tc.want {
				if !strings.Contains(stderr.String(), want) {
					t.Errorf("it says %q, want %q in it", stderr.String(), want)
				}
			}
		})
	}
}

func TestHelpTeaches(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"--help"}, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Errorf("exit code %d, and on stderr %q", code, stderr.String())
	}
	help := stdout.String()
	wants := []string{"ebbtide-agent --config agent.yaml", "-interrupt-after", "-take-back-after", "POST   /interrupt"}
	for _, f := range awstest.Faults() {
		wants = append(wants, string(f))
	}
	for _, want := range wants {
		if !strings.Contains(help, want) {
			t.Errorf("--help lacks %q", want)
		}
	}
}

func TestAnAddressInUseEndsTheProgram(t *testing.T) {
	t.Parallel()
	taken := strings.TrimPrefix(awstest.New(t).URL(), "http://")
	for _, args := range [][]string{{"--listen", taken}, {"--listen", "127.0.0.1:0", "--control", taken}} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), args, &stdout, &stderr); code != 1 || !strings.Contains(stderr.String(), taken) {
			t.Errorf("%v: exit code %d, and on stderr %q; want 1 and the address", args, code, stderr.String())
		}
	}
}

// lines is an output that a test can wait on.
type lines struct {
	mu    sync.Mutex
	text  string
	grown chan struct{}
}

func newLines() *lines { return &lines{grown: make(chan struct{}, 1)} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	l.text += string(p)
	l.mu.Unlock()
	select {
	case l.grown <- struct{}{}:
	default:
	}
	return len(p), nil
}

// wait returns what the pattern's group matches, once it does.
func (l *lines) wait(t *testing.T, pattern string) string {
	t.Helper()
	re, deadline := regexp.MustCompile(pattern), time.After(20*time.Second)
	for {
		l.mu.Lock()
		text := l.text
		l.mu.Unlock()
		if match := re.FindStringSubmatch(text); match != nil {
			return match[len(match)-1]
		}
		select {
		case <-l.grown:
		case <-deadline:
			t.Fatalf("%q did not come; the output is:\n%s", pattern, text)
		}
	}
}

func fetch(t *testing.T, method, url string, header map[string]string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range header {
		r.Header.Set(key, value)
	}
	answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // read to its end below
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func TestTheProgramServesUntilItIsInterrupted(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	stdout, stderr := newLines(), newLines()
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{
			"--listen", "127.0.0.1:0", "--control", "127.0.0.1:0",
			"--interrupt-after", "0s", "--action", "stop", "--notice", "40s",
			"--fault", "unavailable", "--fault-for", "200ms",
		}, stdout, stderr)
	}()
	service := stdout.wait(t, `metadata service at (http://\S+)`)
	control := stdout.wait(t, `control endpoint at (http://\S+)`)
	stdout.wait(t, "Fault unavailable is over")

	_, token := fetch(t, http.MethodPut, service+awstest.TokenPath, map[string]string{"X-aws-ec2-metadata-token-ttl-seconds": "60"})
	for range 3 {
		if code, body := fetch(t, http.MethodGet, service+awstest.NoticePath, map[string]string{"X-aws-ec2-metadata-token": token}); code != 200 || !strings.Contains(body, `"stop"`) {
			t.Errorf("notice: %d %s", code, body)
		}
	}
	if code, body := fetch(t, http.MethodPut, control+"/fault/forbidden", nil); code != 200 {
		t.Errorf("setting a fault: %d %s", code, body)
	}
	if code, _ := fetch(t, http.MethodGet, service+awstest.NoticePath, nil); code != 403 {
		t.Errorf("under the fault: %d, want 403", code)
	}

	interrupt()
	select {
	case got := <-code:
		if got != 0 {
			t.Errorf("exit code %d, want 0; it says %q", got, stderr.text)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the program did not end")
	}
	stdout.wait(t, `\n +4  GET `+awstest.NoticePath+`\n +1  PUT `+awstest.TokenPath+`\nThe notice was first read at`)
	if got := strings.Count(stdout.text, "instance-action: 200\n"); got != 1 {
		t.Errorf("three polls with the same answer made %d lines, want 1:\n%s", got, stdout.text)
	}
}
