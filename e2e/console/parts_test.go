//go:build e2e

package console_test

import (
	"fmt"
	"path/filepath"
	"testing"
)

// TestMetricsAreReadAsPrometheusDoes holds the page's reader of metrics to the
// text format, and its percentiles to histogram_quantile.
func TestMetricsAreReadAsPrometheusDoes(t *testing.T) {
	url := startServer(t, "")
	p := newPage(t, 1280, 900)
	p.open(url + "/console")
	p.eval(`import(new URL("console/metrics.js", document.baseURI)).then(m => { window.metrics = m; })`, nil)
	f := func(expression, want string) {
		t.Helper()
		if got := p.text(`JSON.stringify((({parse, samples, sum, histogram, since, quantile, History}) => ` + expression + `)(metrics))`); got != want {
			t.Errorf("%s is %s, want %s", expression, got, want)
		}
	}
	const text = `parse('# HELP a b\n# TYPE a counter\na{x="1",y="q\\"{}=,\\\\ \\n"} 3\na{x="2"} 4.5 1795000000000\nb 1e-05\nc{le="+Inf"} +Inf\nh_bucket{le="0.1"} 10\nh_bucket{le="0.2"} 30\nh_bucket{le="+Inf"} 40\nh_sum 6\nh_count 40\nnot a sample\n')`
	f(`samples(`+text+`, "a")[0].labels`, `{"x":"1","y":"q\"{}=,\\ \n"}`)
	f(`sum(`+text+`, "a")`, `7.5`)
	f(`sum(`+text+`, "a", {x: "2"})`, `4.5`)
	f(`sum(`+text+`, "a", {x: (v) => v < 2})`, `3`)
	f(`sum(`+text+`, "b")`, `0.00001`)
	f(`Number.isNaN(sum(`+text+`, "d"))`, `true`)
	f(`sum(`+text+`, "c") === Infinity`, `true`)
	f(`histogram(`+text+`, "h").counts`, `[10,20,10]`)
	f(`quantile(histogram(`+text+`, "h"), 0.5)`, `0.15000000000000002`)
	f(`quantile(histogram(`+text+`, "h"), 0.125)`, `0.05`)
	f(`quantile(histogram(`+text+`, "h"), 0.99)`, `0.2`)
	f(`Number.isNaN(quantile({ bounds: [1, Infinity], counts: [0, 0], sum: 0, count: 0 }, 0.5))`, `true`)
	f(`since({ bounds: [1, 2], counts: [5, 7], sum: 9, count: 12 }, { bounds: [1, 2], counts: [5, 4], sum: 6, count: 9 })`, `{"bounds":[1,2],"counts":[0,3],"sum":3,"count":3}`)
	// A counter that is new counts from 0, one of a process that began anew does not fall.
	f(`(h => (h.add(parse("carla_rl_service_startup_timestamp_seconds 1\n"), 0), h.add(parse("carla_rl_service_startup_timestamp_seconds 1\nn 20\n"), 4000), [h.rate("n"), h.span()]))(new History())`, `[5,4]`)
	f(`(h => (h.add(parse("carla_rl_service_startup_timestamp_seconds 1\nn 20\n"), 0), h.add(parse("carla_rl_service_startup_timestamp_seconds 2\nn 3\n"), 4000), h.rate("n")))(new History())`, `null`)
	f(`(h => ([0, 2, 4, 6, 60, 120].forEach(s => h.add(parse("n " + s * 10 + "\n"), s * 1000)), [h.rate("n", {}, 6), h.span()]))(new History())`, `[10,60]`)
}

// TestStepsOfTheLog shows what was recorded, and puts an observation of it into
// the form.
func TestStepsOfTheLog(t *testing.T) {
	url := startServer(t, "", "DATABASE_URL=sqlite://"+filepath.Join(t.TempDir(), "experience.db"))
	p := newPage(t, 1280, 900)
	p.open(url + "/console#steps")
	p.wait(`document.querySelector("#steps [role=status]").textContent.includes("No step was recorded yet")`)
	for i := range 30 {
		if status := ask(t, url+"/predict", fmt.Sprintf(`{"observations":[{"speed":%d,"steering":0.25,"sensors":[0.8,0.2,0.5,0.9,0.1]}]}`, 40+i), nil); status != 200 {
			t.Fatal(status)
		}
	}
	p.wait(`document.querySelectorAll("#steps tbody tr").length === 20`)
	p.wait(`document.querySelector("#steps tbody tr").cells[3].textContent.startsWith("69  0.2500  0.8000")`)
	p.wait(`document.querySelector("#steps [role=status]").textContent.startsWith("The log is ok: ")`)
	p.eval(`(e => { e.value = "50"; e.dispatchEvent(new Event("change")); })(document.getElementById("steps-limit"))`, nil)
	p.wait(`document.querySelectorAll("#steps tbody tr").length === 30`)
	p.accessible("steps of the log")
	p.eval(`document.querySelector("#steps tbody tr:nth-child(3) button").click()`, nil)
	p.wait(`location.hash === "#try" && document.querySelector("#try .slider input[type=number]")?.value === "67"`)
	p.wait(`JSON.parse(document.getElementById("try-json").value).observations[0].sensors[3] > 0.89`)
	p.view("overview")
	p.wait(`document.querySelectorAll("#overview .action .histogram").length === 3`)
	p.accessible("overview with histograms")
	if said := p.said(); len(said) > 0 {
		t.Errorf("the log has %q", said)
	}
}
