"""The colours and dashes of figures."""

# Okabe and Ito's palette, which colour-blind readers can tell apart; dashes do the same in grey print.
STYLES = {"DePT": ("#0072B2", "solid"), "PT": ("#D55E00", "dash")}
