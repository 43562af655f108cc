import hex.genmodel.GenModel;

public class DelayModel extends GenModel {
    public DelayModel() {
        super(NAMES, DOMAINS, "delayed");
    }

    public final double[] score0(double[] data, double[] preds) {
        preds[1] = DelayModel_Tree_0.score0(data);
        return preds;
    }
}
