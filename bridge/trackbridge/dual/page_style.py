"""How the parity report looks: one style sheet, for light, dark and paper."""

from __future__ import annotations

STYLE = """
:root{--sans:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
--mono:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;
--paper:#f6f7f9;--card:#fff;--ink:#171b22;--dim:#5d6675;--faint:#b5bcc8;--rule:#e4e7ec;
--sent:#e8983a;--arrived:#2563c4;
--good:#18794e;--good-bg:#e3f4ea;--calm:#2457a6;--calm-bg:#e5eefb;
--warn:#8a5a00;--warn-bg:#fdf1d6;--bad:#c2271d;--bad-bg:#fce7e5}
@media (prefers-color-scheme:dark){:root{
--paper:#0f1216;--card:#171b21;--ink:#e8ebf0;--dim:#98a2b3;--faint:#4b5462;--rule:#272d36;
--sent:#d98a33;--arrived:#78aef5;
--good:#5fd39a;--good-bg:#12301f;--calm:#8fbaf8;--calm-bg:#15263f;
--warn:#f0bf5a;--warn-bg:#352808;--bad:#ff8278;--bad-bg:#3d1613}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 var(--sans)}
main{max-width:1180px;margin:0 auto;padding:40px 24px 64px}
header{margin-bottom:32px}
.eyebrow{margin:0 0 8px;color:var(--dim);font-size:13px}
h1{margin:0 0 24px;font-size:28px;line-height:1.2;font-weight:650;letter-spacing:-.01em;
display:flex;gap:14px;align-items:center}
h2{margin:0 0 4px;font-size:19px;line-height:1.3;font-weight:650;display:flex;flex-wrap:wrap;
gap:4px 10px;align-items:center;overflow-wrap:anywhere}
h3{margin:28px 0 8px;font-size:15px;font-weight:650}
h3 small{font-weight:400;color:var(--dim);font-size:13px;margin-left:8px}
section{background:var(--card);border:1px solid var(--rule);border-radius:12px;padding:24px;
margin:0 0 24px}
.arrow{color:var(--faint);font-weight:400}
.to{font:500 15px var(--mono);color:var(--dim)}
.sub{margin:0 0 16px;color:var(--dim);font-size:13px;overflow-wrap:anywhere}
code{font:12.5px/1.4 var(--mono);overflow-wrap:anywhere}
.tiles{display:flex;flex-wrap:wrap;gap:1px;margin:0;
background:var(--rule);border:1px solid var(--rule);border-radius:10px;overflow:hidden}
.tiles div{flex:1 1 118px;background:var(--card);padding:12px 16px}
.tiles dt{color:var(--dim);font-size:12.5px}
.tiles dd{margin:0;font-size:21px;font-weight:600;font-variant-numeric:tabular-nums;
letter-spacing:-.01em}
.tiles dd small{font-size:13px;font-weight:400;color:var(--dim);margin-left:6px}
.badge{display:inline-flex;align-items:center;gap:6px;padding:2px 10px 2px 4px;border-radius:99px;
font-size:13px;font-weight:600;white-space:nowrap}
.badge i{font-style:normal;width:18px;height:18px;border-radius:50%;display:inline-grid;
place-items:center;font-size:11px;line-height:1;color:var(--card)}
h1 .badge{padding:0;background:none}
h1 .badge i{width:34px;height:34px;font-size:18px}
.badge.good{color:var(--good);background:var(--good-bg)}.badge.good i{background:var(--good)}
.badge.calm{color:var(--calm);background:var(--calm-bg)}.badge.calm i{background:var(--calm)}
.badge.warn{color:var(--warn);background:var(--warn-bg)}.badge.warn i{background:var(--warn)}
.badge.bad{color:var(--bad);background:var(--bad-bg)}.badge.bad i{background:var(--bad)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px}
th,td{text-align:left;vertical-align:top;padding:8px 14px 8px 0;border-bottom:1px solid var(--rule)}
tr:last-child>*{border-bottom:0}
thead th{color:var(--dim);font-weight:500;font-size:12.5px;white-space:nowrap;vertical-align:bottom}
tbody th{font-weight:600;min-width:110px}
th small,td small{display:block;font-weight:400;color:var(--dim);font-size:12.5px}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.zero{color:var(--faint)}
.none{color:var(--faint)}
thead th.store{font-family:var(--mono);white-space:normal;overflow-wrap:anywhere;min-width:170px}
.overview th,.overview td{padding-right:20px}
.overview th[scope=row]{overflow-wrap:anywhere;min-width:160px}
.cell a{color:inherit;text-decoration:none;display:block}
.cell a:hover .badge,.cell a:focus-visible .badge{outline:2px solid var(--faint)}
.cell small{margin-top:4px}
.remarks{margin:16px 0 0;padding:12px 16px 12px 34px;background:var(--warn-bg);border-radius:8px;
font-size:14px;overflow-wrap:anywhere}
.remarks.calm,.remarks.good{background:var(--calm-bg)}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(310px,1fr));gap:20px 24px;
margin-top:20px}
figure{margin:0;min-width:0}
figcaption{font-weight:600;font-size:13.5px;margin-bottom:6px;overflow-wrap:anywhere;min-height:40px}
figcaption code{font-weight:600;font-size:13px}
figcaption small{display:block;font-weight:400;color:var(--dim);font-size:12.5px}
figure.bad figcaption small{color:var(--bad)}
.nothing{color:var(--dim);font-size:13px;border:1px dashed var(--rule);border-radius:8px;margin:0;
min-height:130px;display:grid;place-items:center;text-align:center;padding:12px}
.plot .inside{fill:var(--card);font-weight:600}
.legend{margin:0;color:var(--dim);font-size:13px;display:flex;flex-wrap:wrap;gap:6px;
align-items:center}
.key{display:inline-block;width:22px;margin-left:12px}
.key:first-child{margin-left:0}
.key.sent{height:5px;border-radius:3px;background:var(--sent);opacity:.6}
.key.arrived{height:2px;background:var(--arrived)}
.key.ring{width:9px;height:9px;border:1.75px solid var(--bad);border-radius:50%}
.key.cross{width:auto;color:var(--bad);font-weight:700}
.note,footer{color:var(--dim);font-size:13px}
footer{padding:0 4px}
@media (max-width:640px){main{padding:24px 12px 40px}section{padding:16px}h1{font-size:22px}}
@media print{:root{--paper:#fff;--card:#fff;--ink:#000;--dim:#444;--faint:#999;--rule:#ccc;
--sent:#e8983a;--arrived:#2563c4;--good:#18794e;--good-bg:#fff;--calm:#2457a6;--calm-bg:#fff;
--warn:#8a5a00;--warn-bg:#fff;--bad:#c2271d;--bad-bg:#fff}
body{font-size:11pt}main{max-width:none;padding:0}
section{border:0;border-top:1px solid var(--rule);border-radius:0;padding:16px 0}
figure,tr,.tiles{break-inside:avoid}.badge{padding-left:0}.scroll{overflow:visible}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""
