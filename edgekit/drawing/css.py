"""The style of the HTML pages: light and dark, one column on a phone."""

from __future__ import annotations

__all__ = ["CSS"]

CSS = """\
:root {
  color-scheme: light dark;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  --paper: #fcfcfb; --card: #ffffff; --ink: #17191c; --muted: #5d656e; --rule: #e2e4e6;
  --reference: #8c959f; --result: #0a63c9; --worse: #b34700;
  --pass: #12703f; --fail: #b3231a; --unmeasured: #825600;
  --pass-wash: #eaf6ef; --fail-wash: #fdeeec; --unmeasured-wash: #fcf4e2;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #111417; --card: #181c20; --ink: #e8eaed; --muted: #9da6b0; --rule: #2d3339;
    --reference: #87919c; --result: #62a8ff; --worse: #ff9a52;
    --pass: #57c98c; --fail: #ff8a7d; --unmeasured: #e6b450;
    --pass-wash: #14271d; --fail-wash: #301a18; --unmeasured-wash: #2b2312;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 var(--sans); font-variant-numeric: tabular-nums;
  -webkit-text-size-adjust: 100%; overflow-wrap: break-word;
}
main, header, footer { max-width: 1080px; margin: 0 auto; padding: 0 28px; }
header { padding-top: 36px; }
h1 { font-size: 27px; line-height: 1.2; letter-spacing: -0.015em; margin: 0; font-weight: 650; }
h2 {
  font-size: 17px; line-height: 1.3; letter-spacing: -0.005em; margin: 44px 0 8px;
  font-weight: 650;
}
h3 { font-size: 15px; line-height: 1.3; margin: 0; font-weight: 600; }
p { margin: 0; }
.eyebrow { color: var(--muted); margin: 4px 0 0; }
.muted, figcaption { color: var(--muted); font-size: 13px; }
.verdict {
  display: grid; grid-template-columns: auto 1fr; gap: 2px 14px; align-items: center;
  margin: 24px 0 0; padding: 16px 20px; border-radius: 10px; border: 1px solid;
}
.verdict .mark { font-size: 26px; line-height: 1; width: 1.1em; text-align: center; }
.verdict strong { font-size: 20px; line-height: 1.2; font-weight: 650; }
.verdict p, .verdict ul { grid-column: 2; color: var(--ink); }
.verdict ul { margin: 6px 0 0; padding: 0; list-style: none; }
.verdict li { padding: 6px 0 0; }
.verdict.pass { background: var(--pass-wash); color: var(--pass); }
.verdict.fail { background: var(--fail-wash); color: var(--fail); }
.verdict.unmeasured { background: var(--unmeasured-wash); color: var(--unmeasured); }
.cards { display: flex; flex-wrap: wrap; gap: 12px; margin: 16px 0 0; }
.card {
  background: var(--card); border: 1px solid var(--rule); border-radius: 10px;
  padding: 14px 16px 13px;
}
.card { flex: 1 1 228px; min-width: 0; }
.card.wide { flex-grow: 2; flex-basis: 468px; }
.card.fail { border-color: var(--fail); }
.card.unmeasured { border-color: var(--unmeasured); }
.card .top { display: flex; justify-content: space-between; align-items: baseline; gap: 8px; }
.card h3 { color: var(--muted); font-weight: 500; font-size: 14px; }
.card .value {
  font-size: 27px; line-height: 1.25; font-weight: 600; letter-spacing: -0.02em; margin: 2px 0;
}
.card .value.none { color: var(--muted); font-weight: 400; font-size: 20px; padding: 5px 0; }
.card p { font-size: 13.5px; line-height: 1.45; }
.card .rest { color: var(--muted); }
.status { white-space: nowrap; font-weight: 600; font-size: 13px; }
.status.pass { color: var(--pass); }
.status.fail { color: var(--fail); }
.status.unmeasured { color: var(--unmeasured); }
.plots { columns: 2; column-gap: 12px; margin-top: 12px; }
figure {
  margin: 0 0 12px; padding: 16px 18px 14px; background: var(--card);
  border: 1px solid var(--rule); border-radius: 10px; break-inside: avoid;
}
figure svg {
  display: block; width: 100%; max-width: 460px; height: auto; margin: 8px 0 6px;
  overflow: visible;
}
.scroll { overflow-x: auto; }
.scroll:focus-visible { outline: 2px solid var(--result); outline-offset: 2px; }
.tables { display: flex; flex-wrap: wrap; gap: 0 72px; align-items: flex-start; }
.tables section { max-width: 100%; min-width: 0; }
.tables section > .muted { width: 0; min-width: 100%; }
table { border-collapse: collapse; font-size: 14px; line-height: 1.4; }
th, td {
  text-align: left; vertical-align: top; padding: 6px 20px 6px 0;
  border-bottom: 1px solid var(--rule);
}
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--muted); font-weight: 500; font-size: 13px; white-space: nowrap; }
tbody th { font-weight: 500; }
.n { text-align: right; }
.n, .k { white-space: nowrap; }
tbody th.k { white-space: normal; }
td:not(.n, .k) { min-width: 15em; }
figure th, figure td { padding-top: 4px; padding-bottom: 4px; }
figure table { margin-top: 6px; width: 100%; }
details { margin: 10px 0 0; max-width: 100%; }
summary { cursor: pointer; color: var(--muted); font-size: 14px; width: fit-content; }
summary:hover { color: var(--ink); }
summary:focus-visible { outline: 2px solid var(--result); outline-offset: 2px; }
details[open] > summary { margin-bottom: 6px; }
.curves {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr));
  gap: 12px; margin: 10px 0 12px;
}
.curves figure { margin: 0; min-width: 0; }
.curves figure svg { max-width: 360px; }
.line {
  display: inline-block; width: 22px; margin: 0 2px 0 3px; vertical-align: 0.25em;
  border-top: 2px solid var(--result);
}
.line.train { border-top: 2px dashed var(--reference); }
h3.origin { margin: 16px 0 4px; font-size: 14px; }
h2 + h3.origin { margin-top: 0; }
section > .muted { margin-bottom: 6px; max-width: 62em; }
ul.notes + .muted { margin-top: 8px; }
ul.notes { margin: 0; padding-left: 1.2em; }
pre {
  margin: 0 0 8px; padding: 12px 16px; background: var(--card); border: 1px solid var(--rule);
  border-radius: 8px; overflow-x: auto; font: 13.5px/1.5 var(--mono);
}
footer { padding-top: 44px; padding-bottom: 44px; }
@media (max-width: 760px) {
  main, header, footer { padding-left: 16px; padding-right: 16px; }
  header { padding-top: 24px; }
  h1 { font-size: 23px; }
  .plots { columns: 1; }
  .cards { gap: 8px; }
  .plots { margin-top: 8px; }
  .card { padding: 11px 12px; flex-basis: 150px; }
  .card.wide { flex-basis: 100%; }
  .card .value { font-size: 22px; }
  .card .top { flex-wrap: wrap; gap: 0 8px; }
  .verdict { padding: 14px; gap: 2px 10px; }
  figure { padding: 14px 9px 12px; }
}
@media print {
  body { background: none; }
  .card, figure, .verdict, tr { break-inside: avoid; }
}
"""
