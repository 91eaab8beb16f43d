package stamptest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// begin starts a fake of cloud at noon.
func begin(t *testing.T, cloud Cloud) (*Server, *metadatatest.Clock) {
	t.Helper()
	c := metadatatest.NewClock(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	s, err := Start(Options{Cloud: cloud, now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, c
}

// send makes one request, with a header if there is a value.
func send(t *testing.T, s *Server, method, path, header, value string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL()+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if value != "" {
		r.Header.Set(header, value)
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

// token fetches a token for a minute.
func token(t *testing.T, s *Server) string {
	t.Helper()
	status, body := send(t, s, http.MethodPut, TokenPath, ttlHeader, "60")
	if status != http.StatusOK {
		t.Fatalf("no token: %d", status)
	}
	return body
}

func TestATokenIsHandedOut(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cloud       Cloud
		method, ttl string
		want        int
	}{
		"for a second":                   {Alibaba, http.MethodPut, "1", 200},
		"for six hours":                  {Alibaba, http.MethodPut, "21600", 200},
		"not for longer":                 {Alibaba, http.MethodPut, "21601", 400},
		"not for no time":                {Alibaba, http.MethodPut, "0", 400},
		"not for more than a number has": {Alibaba, http.MethodPut, "99999999999999", 400},
		"not without a lifetime":         {Alibaba, http.MethodPut, "", 400},
		"not by GET":                     {Alibaba, http.MethodGet, "60", 405},
		"not by Tencent":                 {Tencent, http.MethodPut, "60", 405},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := begin(t, tc.cloud)
			if got, body := send(t, s, tc.method, TokenPath, ttlHeader, tc.ttl); got != tc.want {
				t.Errorf("%d %s, want %d", got, body, tc.want)
			}
		})
	}
}

func TestItemsNeedATokenThatIsAlive(t *testing.T) {
	t.Parallel()
	s, clock := begin(t, Alibaba)
	key := token(t, s)
	check := func(when, key string, want int) {
		t.Helper()
		if got, _ := send(t, s, http.MethodGet, InstancePath, tokenHeader, key); got != want {
			t.Errorf("%s: %d, want %d", when, got, want)
		}
	}
	check("without a token", "", 401)
	check("with a word", "token", 401)
	check("with a token", key, 200)
	clock.Advance(time.Minute)
	check("after its time", key, 401)
	key = token(t, s)
	s.ExpireTokens()
	check("with a token that was voided", key, 401)

	tencent, _ := begin(t, Tencent)
	if got, id := send(t, tencent, http.MethodGet, InstancePath, "", ""); got != 200 || id != "ins-ebb71de0" {
		t.Errorf("on Tencent Cloud: %d %q", got, id)
	}
}

func TestANoticeComesAndGoesInTheWordsOfItsCloud(t *testing.T) {
	t.Parallel()
	for cloud, want := range map[Cloud]string{Alibaba: "2026-11-22T12:05:10Z", Tencent: "2026-11-22 20:02:10"} {
		t.Run(string(cloud), func(t *testing.T) {
			t.Parallel()
			s, clock := begin(t, cloud)
			read := func(when string, wantStatus int, wantBody string) {
				t.Helper()
				key := ""
				if cloud == Alibaba {
					key = token(t, s)
				}
				status, body := send(t, s, http.MethodGet, NoticePath, tokenHeader, key)
				if status != wantStatus || (status == 200 && body != wantBody) {
					t.Errorf("%s: %d %q, want %d %q", when, status, body, wantStatus, wantBody)
				}
			}
			read("without a notice", 404, "")
			s.InterruptAfter(10*time.Second, 0)
			read("before it", 404, "")
			clock.Advance(10 * time.Second)
			read("with it", 200, want)
			s.SetClockOffset(-time.Second)
			read("by a clock that is slow", 200, strings.Replace(want, ":10", ":09", 1))
			s.TakeBackAfter(time.Second)
			clock.Advance(time.Second)
			read("after it", 404, "")
			s.Interrupt(clock.Now())
			s.TakeBack()
			read("when it is taken back", 404, "")
			s.SetItem(itemNotice, "soon")
			read("as a test would have it", 200, "soon")
			s.RemoveItem(itemNotice)
			read("as it was", 404, "")
		})
	}
}

func TestFaultsOfANoticeTouchNothingElse(t *testing.T) {
	t.Parallel()
	for fault, want := range map[metadatatest.Fault]string{
		metadatatest.TruncatedBody: "2026-11-2",
		UnreadableTime:             "Sun, 22 Nov 2026 12:00:00 GMT",
		PastTime:                   "2026-11-21 20:02:00",
	} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			s, clock := begin(t, Tencent)
			if err := s.SetFault(fault); err != nil {
				t.Fatal(err)
			}
			if status, _ := send(t, s, http.MethodGet, NoticePath, "", ""); status != 404 {
				t.Errorf("without a notice: %d, want 404", status)
			}
			s.Interrupt(clock.Now().Add(2 * time.Minute))
			if _, body := send(t, s, http.MethodGet, NoticePath, "", ""); body != want {
				t.Errorf("the notice reads %q, want %q", body, want)
			}
			if _, body := send(t, s, http.MethodGet, InstancePath, "", ""); body != "ins-ebb71de0" {
				t.Errorf("the instance's id reads %q", body)
			}
		})
	}
}

func TestThereAreTwoClouds(t *testing.T) {
	t.Parallel()
	if s, err := Start(Options{Cloud: "cumulus"}); err == nil || !strings.Contains(err.Error(), "alibaba and tencent") {
		t.Errorf("another: %v, %v", s, err)
	}
	s, _ := begin(t, Alibaba)
	if _, err := Start(Options{Cloud: Tencent, Listen: strings.TrimPrefix(s.URL(), "http://")}); err == nil {
		t.Error("two at one address: no error")
	}
}

func TestControlDoesWhatTheMethodsDo(t *testing.T) {
	t.Parallel()
	s, clock := begin(t, Tencent)
	ask := func(method, target, body string) (int, string) {
		w := httptest.NewRecorder()
		s.Control().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body)))
		return w.Code, w.Body.String()
	}
	do := func(method, target, body string) metadatatest.Status {
		t.Helper()
		code, reply := ask(method, target, body)
		var status metadatatest.Status
		if err := json.Unmarshal([]byte(reply), &status); code != http.StatusOK || err != nil {
			t.Fatalf("%s %s: %d %s", method, target, code, reply)
		}
		return status
	}
	read := func(when, want string) {
		t.Helper()
		if _, got := send(t, s, http.MethodGet, NoticePath, "", ""); !strings.Contains(got, want) {
			t.Errorf("%s: the notice reads %q, want %q", when, got, want)
		}
	}
	if got := do("POST", "/interrupt?notice=40s&after=10s", ""); !got.NoticeReadableAt.IsZero() {
		t.Errorf("the notice is readable at once: %+v", got)
	}
	clock.Advance(10 * time.Second)
	read("in its time", "2026-11-22 20:00:50")
	do("POST", "/take-back", "")
	read("taken back", "404")
	do("POST", "/interrupt", "")
	read("by default", "2026-11-22 20:02:10")
	do("POST", "/expire-tokens", "")
	do("POST", "/take-back", "")
	do("PUT", "/item/"+itemNotice, "soon")
	read("set", "soon")
	do("DELETE", "/item/"+itemNotice, "")
	read("removed", "404")
	for _, target := range []string{"/interrupt?notice=soon", "/interrupt?after=soon"} {
		if code, _ := ask(http.MethodPost, target, ""); code != http.StatusBadRequest {
			t.Errorf("%s: %d, want 400", target, code)
		}
	}
	if _, help := ask(http.MethodGet, "/", ""); help != ControlHelp || !strings.Contains(help, "/interrupt?notice=2m") {
		t.Errorf("it explains itself as %q", help)
	}
}
