/// The look of `report.html`. Series colours are Okabe and Ito's, which people with any colour vision tell apart;
/// controls are dashed as well, so that colour never carries meaning alone.
enum HTMLStyle {
    static let sheet = """
        :root {
          --paper: #ffffff; --ink: #1b1f24; --muted: #57606a; --rule: #1b1f24; --hair: #d4d9df; --panel: #f5f7f9;
          --c0: #0067a6; --c1: #b34700; --c2: #00795a; --c3: #a3457f; --c4: #7a5c00; --c5: #4a4f57;
          --good: #00694e; --bad: #a82a00; --sim: #6b4e00; --sim-back: #fdf6e3;
        }
        @media (prefers-color-scheme: dark) {
          :root {
            --paper: #14171b; --ink: #e4e7ea; --muted: #a2abb5; --rule: #c3c9cf; --hair: #353b43; --panel: #1c2026;
            --c0: #5fb8f0; --c1: #f09a4e; --c2: #3fcf9f; --c3: #e796c2; --c4: #e3c04f; --c5: #b5bcc5;
            --good: #4fd1a5; --bad: #ff9a73; --sim: #f0d48a; --sim-back: #2a2516;
          }
        }
        * { box-sizing: border-box; }
        body { margin: 0; background: var(--paper); color: var(--ink); font: 17px/1.55 Charter, "Bitstream Charter", "Iowan Old Style", Georgia, "DejaVu Serif", serif; }
        main { max-width: 1020px; margin: 0 auto; padding: 48px 28px 96px; }
        h1 { font-size: 34px; line-height: 1.2; margin: 0 0 6px; font-weight: 600; letter-spacing: -0.01em; }
        .subtitle { color: var(--muted); margin: 0 0 28px; max-width: none; }
        h2 { font-size: 23px; font-weight: 600; margin: 52px 0 12px; padding-top: 14px; border-top: 1px solid var(--hair); }
        p { margin: 12px 0; max-width: 46em; }
        .notice { max-width: none; padding: 10px 16px; border-left: 4px solid var(--c5); background: var(--panel); }
        .notice.simulation { border-color: var(--sim); background: var(--sim-back); }
        .tiles, .legend, table, figure, summary { font-family: "Helvetica Neue", Helvetica, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif; }
        .tiles { display: flex; flex-wrap: wrap; gap: 1px; margin: 28px 0; background: var(--hair); border: 1px solid var(--hair); }
        .tile { flex: 1 1 280px; background: var(--paper); padding: 16px 18px; }
        .tile dt { font-size: 13px; color: var(--muted); }
        .tile dd { margin: 0; }
        .figure-value { font-size: 29px; line-height: 1.35; font-weight: 600; font-variant-numeric: tabular-nums; }
        .tile-note { font-size: 12.5px; line-height: 1.4; color: var(--muted); }
        .scroll { overflow-x: auto; margin: 24px 0; }
        table { border-collapse: collapse; width: 100%; font-size: 14px; line-height: 1.4; border-top: 2px solid var(--rule); border-bottom: 2px solid var(--rule); }
        caption { caption-side: top; text-align: left; padding: 0 0 8px; color: var(--muted); font-size: 14px; max-width: 60em; }
        caption b, figcaption b { color: var(--ink); }
        th { text-align: left; font-weight: 600; border-bottom: 1px solid var(--rule); padding: 7px 11px 6px; vertical-align: bottom; }
        td { padding: 5px 11px; border-bottom: 1px solid var(--hair); vertical-align: top; overflow-wrap: break-word; }
        tr:last-child td { border-bottom: 0; }
        th:first-child, td:first-child { padding-left: 0; }
        th:last-child, td:last-child { padding-right: 0; }
        .n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
        th.n { white-space: normal; }
        figure { margin: 28px 0; overflow-x: auto; }
        figure > svg { width: 100%; min-width: 680px; height: auto; display: block; }
        figcaption { font-size: 14px; color: var(--muted); margin-top: 8px; max-width: 60em; }
        .legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 22px; padding: 0; margin: 0 0 6px; font-size: 13.5px; }
        .legend svg { width: 28px; height: 10px; margin-right: 8px; overflow: visible; }
        details { margin: 20px 0; }
        summary { cursor: pointer; font-size: 14px; color: var(--c0); }
        svg text { font-size: 13px; fill: var(--ink); }
        svg .tick { font-size: 12px; fill: var(--muted); font-variant-numeric: tabular-nums; }
        svg .axis-title, svg .guide-label { fill: var(--muted); }
        svg .guide-label { font-size: 12px; }
        svg .label { font-weight: 600; white-space: pre; }
        svg .grid { stroke: var(--hair); stroke-width: 1; }
        svg .axis { stroke: var(--rule); stroke-width: 1; }
        svg .guide { stroke: var(--muted); stroke-width: 1; stroke-dasharray: 2 4; }
        svg .leader { stroke: var(--muted); stroke-width: 0.7; opacity: 0.6; }
        .curve { fill: none; stroke-width: 2.2; stroke-linejoin: round; }
        .curve.control { stroke-dasharray: 7 4; stroke-width: 1.8; }
        .band { opacity: 0.16; stroke: none; }
        .dot { stroke: var(--paper); stroke-width: 1; }
        .dot.control { fill: var(--paper); stroke-width: 1.6; }
        line.c0, polyline.c0, .dot.control.c0 { stroke: var(--c0); } .band.c0, .bar.c0, .dot.c0:not(.control), text.label.c0 { fill: var(--c0); }
        line.c1, polyline.c1, .dot.control.c1 { stroke: var(--c1); } .band.c1, .bar.c1, .dot.c1:not(.control), text.label.c1 { fill: var(--c1); }
        line.c2, polyline.c2, .dot.control.c2 { stroke: var(--c2); } .band.c2, .bar.c2, .dot.c2:not(.control), text.label.c2 { fill: var(--c2); }
        line.c3, polyline.c3, .dot.control.c3 { stroke: var(--c3); } .band.c3, .bar.c3, .dot.c3:not(.control), text.label.c3 { fill: var(--c3); }
        line.c4, polyline.c4, .dot.control.c4 { stroke: var(--c4); } .band.c4, .bar.c4, .dot.c4:not(.control), text.label.c4 { fill: var(--c4); }
        line.c5, polyline.c5, .dot.control.c5 { stroke: var(--c5); } .band.c5, .bar.c5, .dot.c5:not(.control), text.label.c5 { fill: var(--c5); }
        @media print {
          body { font-size: 11pt; } main { padding: 0; max-width: none; }
          figure, tr, .tile { break-inside: avoid; } h2 { break-after: avoid; }
        }
        """
}
